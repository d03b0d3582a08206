// The layering test is the shortest description of the architecture: who may
// import whom, where third parties may appear, and what lies where.

package test

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/skeinmesh/skein"

// The four subsystems are strangers to each other; node alone knows them all;
// the faces know node and the vocabulary; programs know what they start.
const (
	words = "transport/peer transport/event transport/wire" // the vocabulary
	four  = "gossip gossip/fact routing routing/filter routing/match routing/queue routing/graph routing/flow " +
		"replication store transport"
	face = "node routing/filter routing/queue " + words
)

// mayImport is the architecture: what each package may import of ours. Tests
// of a package keep to it, too, except where testMayImport gives them more. A
// package that is not listed is a package nobody decided to have.
var mayImport = map[string]string{
	"transport/peer":   "",
	"transport/event":  "",
	"transport/wire":   "transport/peer transport/event",
	"transport/repair": "",
	"transport":        "transport/repair " + words,

	"gossip/fact": "transport/peer",
	"gossip":      "gossip/fact transport/peer",

	"routing/filter/cesql": "transport/event",
	"routing/filter":       "routing/filter/cesql transport/event",
	"routing/match":        "routing/filter transport/event",
	"routing/queue":        "transport/event",
	"routing/graph":        "transport/peer",
	"routing/flow":         "transport/peer transport/event",
	"routing":              "routing/filter routing/match routing/queue routing/graph routing/flow transport/peer transport/event",

	"store":           "",
	"store/journal":   "store",
	"store/segment":   "store",
	"store/bolt":      "store",
	"store/memory":    "store",
	"store/storetest": "store",
	"store/notes":     "store",

	"replication/placement": "transport/peer",
	"replication/meta":      "replication/placement transport/peer",
	"replication/multiraft": "store transport/peer",
	"replication/fields":    "",
	"replication/partition": "replication/fields replication/multiraft store store/segment transport/peer",
	"replication/away":      "store store/segment",
	"replication": "replication/fields replication/placement replication/meta replication/multiraft replication/partition replication/away " +
		"store store/journal store/segment transport/peer",

	"node":          four + " replication/meta replication/placement store/notes " + words,
	"node/httpapi":  face,
	"node/session":  face + " transport",
	"node/delivery": face,
	"node/console":  face,
	"node/client":   "routing/filter transport " + words,

	"cmd/skein": "node node/httpapi node/session node/console node/delivery node/client " + face + " transport replication", // store verify

	"examples/exampletest": "",
	"examples/watchdir":    "node/client",
	"examples/gitlog":      "node/client",
	"examples/shipping":    "node/client",

	"test":          "test/simmesh test/realmesh node/httpapi node/session node/client transport " + face,
	"test/wan":      "",
	"test/wan/tun":  "test/wan",
	"test/realmesh": "test/wan",
	"test/simmesh":  "node transport " + words,
	"test/scale":    "gossip/fact routing routing/filter routing/match routing/queue routing/graph routing/flow " + words,

	"test/conformance": "test/realmesh node/client",
}

// testMayImport is what tests of a package import beyond mayImport.
var testMayImport = map[string]string{
	"replication/multiraft": "store/journal store/memory store/storetest",

	"node/client":  "node node/session node/httpapi",
	"node/session": "node/client",
	"transport":    "test/wan test/wan/tun",

	"store/journal": "store/storetest",
	"store/segment": "store/storetest",
	"store/memory":  "store/storetest",
	"store/notes":   "store/storetest",
	"store/bolt":    "store/storetest",
	"replication":   "store/storetest",

	"replication/partition": "store/journal store/storetest",
	"replication/away":      "store/storetest",

	"examples/watchdir": "examples/exampletest",
	"examples/gitlog":   "examples/exampletest",
	"examples/shipping": "examples/exampletest",
}

// thirdParty says where a module outside ours and the standard library may
// appear; a package includes those below it only with /... at its end.
var thirdParty = map[string]string{
	"github.com/hashicorp/memberlist":     "gossip",
	"github.com/hashicorp/raft":           "replication/multiraft",
	"github.com/hashicorp/raft-boltdb/v2": "replication/multiraft",
	"github.com/hashicorp/go-hclog":       "replication/multiraft",
	"go.etcd.io/bbolt":                    "store/bolt replication replication/multiraft",
	"github.com/quic-go/quic-go":          "transport test/simmesh",

	"github.com/coder/websocket":          "node/httpapi",
	"github.com/prometheus/client_golang": "node/httpapi",
	"github.com/cloudevents/sdk-go/v2":    "node/client examples/...",

	"github.com/spf13/cobra":       "cmd/skein",
	"github.com/spf13/pflag":       "cmd/skein",
	"github.com/knadh/koanf":       "cmd/skein",
	"go.yaml.in/yaml/v3":           "cmd/skein",
	"github.com/fsnotify/fsnotify": "examples/watchdir",

	"google.golang.org/protobuf/encoding/protowire": "transport/event",

	"github.com/dchest/siphash":        "gossip/fact routing/match",
	"github.com/klauspost/compress":    "transport",
	"github.com/klauspost/reedsolomon": "transport/repair",

	"golang.org/x/net":  "transport gossip",
	"golang.org/x/sys":  "transport store/journal cmd/skein test/wan/tun",
	"golang.org/x/term": "cmd/skein",
	"golang.org/x/time": "transport node node/httpapi node/delivery replication",
}

// testThirdParty may appear in tests beyond thirdParty.
var testThirdParty = map[string]string{
	"pgregory.net/rapid":                                       "...",
	"go.uber.org/goleak":                                       "...",
	"github.com/anishathalye/porcupine":                        "replication",
	"github.com/quic-go/quic-go/testutils":                     "transport gossip node test",
	"github.com/cloudevents/sdk-go/v2":                         "transport/event routing/filter/... node/... test/...",
	"github.com/cloudevents/sdk-go/sql/v2":                     "routing/filter/...",
	"github.com/cloudevents/sdk-go/binding/format/protobuf/v2": "transport/event node/... test",
	"google.golang.org/protobuf":                               "transport/event",
	"github.com/coder/websocket":                               "test/...",
	"go.yaml.in/yaml/v3":                                       "routing/filter/... test",
}

// topLevel is all that may lie at the root, dot-files aside.
const topLevel = "cmd node gossip routing replication store transport examples test go.mod go.sum Makefile README.md LICENSE"

func TestLayersImportOnlyWhatTheyMay(t *testing.T) {
	for _, f := range goFiles(t) {
		pkg := path.Dir(f)
		ours, known := mayImport[pkg]
		if !known {
			t.Errorf("%s: package %s is not in the table of mayImport", f, pkg)
			continue
		}
		isTest := strings.HasSuffix(f, "_test.go")
		if isTest {
			ours += " " + testMayImport[pkg]
		}
		for _, imp := range imports(t, f) {
			switch {
			case imp == module+"/"+pkg: // the outside test of a package
			case imp == module || strings.HasPrefix(imp, module+"/"):
				rel := strings.TrimPrefix(strings.TrimPrefix(imp, module), "/")
				if !slices.Contains(strings.Fields(ours), rel) {
					t.Errorf("%s: %s may not import %s", f, pkg, rel)
				}
			case strings.Contains(strings.SplitN(imp, "/", 2)[0], "."):
				mod, where := allowed(thirdParty, imp)
				if isTest {
					if m, w := allowed(testThirdParty, imp); m != "" {
						mod, where = m, where+" "+w
					}
				}
				if mod == "" || !covers(where, pkg) {
					t.Errorf("%s: %s may not import %s", f, pkg, imp)
				}
			}
		}
	}
}

func TestLayersAreStrangersWhereTheDesignSaysSo(t *testing.T) {
	subsystems := []string{"gossip", "routing", "transport", "replication"}
	for _, a := range subsystems {
		for _, b := range subsystems {
			if a == b {
				continue
			}
			if slices.Contains(strings.Fields(mayImport[a]), b) {
				t.Errorf("the table lets %s import %s", a, b)
			}
		}
	}
}

func TestLayersLieWhereTheHouseHasRooms(t *testing.T) {
	for _, f := range trackedFiles(t) {
		top, _, nested := strings.Cut(f, "/")
		if strings.HasPrefix(top, ".") {
			continue
		}
		if !slices.Contains(strings.Fields(topLevel), top) {
			t.Errorf("%s: %s does not belong at the top level", f, top)
		}
		if !nested && strings.HasSuffix(f, ".go") {
			t.Errorf("%s: no Go files at the root", f)
		}
		for part := range strings.SplitSeq(path.Dir(f), "/") {
			if slices.Contains([]string{"internal", "pkg", "common", "util", "utils"}, part) {
				t.Errorf("%s: no folder is called %s here", f, part)
			}
		}
	}
}

func TestLayersPureCodeStartsNoGoroutinesAndReadsNoClock(t *testing.T) {
	for _, f := range goFiles(t) {
		pure := strings.HasPrefix(f, "routing/") || strings.HasPrefix(f, "gossip/fact/") ||
			strings.HasPrefix(f, "replication/meta/") || strings.HasPrefix(f, "replication/placement/")
		// A queue decides nothing; the gaps it reports say from when to when.
		if !pure || strings.HasPrefix(f, "routing/queue/") || strings.HasSuffix(f, "_test.go") {
			continue
		}
		src, err := os.ReadFile(filepath.Join("..", f))
		if err != nil {
			t.Fatal(err)
		}
		for _, forbidden := range []string{"\tgo func", "time.Now(", "time.AfterFunc(", "time.NewTimer(", "time.NewTicker(", "time.Sleep(", "\"net\"\n"} {
			if bytes.Contains(src, []byte(forbidden)) {
				t.Errorf("%s: pure code, yet it has %q", f, strings.TrimSpace(forbidden))
			}
		}
	}
}

// allowed is the entry of a table with the longest module path that imp is in.
func allowed(table map[string]string, imp string) (mod, where string) {
	for m, w := range table {
		if (imp == m || strings.HasPrefix(imp, m+"/")) && len(m) > len(mod) {
			mod, where = m, w
		}
	}
	return mod, where
}

// covers reports whether a list of packages has pkg, by name or below a "/...".
func covers(list, pkg string) bool {
	for _, p := range strings.Fields(list) {
		base, below := strings.CutSuffix(p, "...")
		if p == pkg || below && (strings.HasPrefix(pkg+"/", base)) {
			return true
		}
	}
	return false
}

// imports lists what a file imports.
func imports(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", file), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, spec := range parsed.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// goFiles lists the Go files of this module, slash-separated from its root.
func goFiles(t *testing.T) []string {
	t.Helper()
	var list []string
	root := ".."
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			_, nested := os.Stat(filepath.Join(p, "go.mod"))
			if p != root && (strings.HasPrefix(name, ".") || name == "testdata" || nested == nil) {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") {
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			list = append(list, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatal("no Go files found")
	}
	return list
}

// trackedFiles lists what git tracks, or, outside a checkout, all files.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		return goFiles(t)
	}
	return strings.Fields(string(out))
}
