package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the golden files anew")

// result is what a run of the program did.
type result struct {
	code        int
	out, errOut string
}

// skein runs the program with these arguments.
func skein(t *testing.T, args ...string) result { return skeinIn(t, "", args...) }

// skeinIn is skein with something on its standard input.
func skeinIn(t *testing.T, in string, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(in), &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

// want fails the test unless the run ended with a code and said all of words
// on stderr.
func (r result) want(t *testing.T, code int, words ...string) {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.out, r.errOut)
	}
	for _, w := range words {
		if !strings.Contains(r.errOut, w) {
			t.Fatalf("stderr %q does not say %q", r.errOut, w)
		}
	}
}

// commands visits every command a user sees.
func commands(visit func(*cobra.Command)) {
	root := rootCommand(newApp(nil, &bytes.Buffer{}, &bytes.Buffer{}))
	root.InitDefaultHelpCmd()
	eachCommand(root, visit)
}

func TestUnknownFlagNamesTheNearest(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"pub", "--tpye", "x"}, "the nearest is --type"},
		{[]string{"serve", "--regoin", "x"}, "the nearest is --region"},
		{[]string{"topology", "--sever=x"}, "the nearest is --server"},
		{[]string{"sub", "-z"}, "unknown shorthand flag"},
	} {
		skein(t, c.args...).want(t, exitUsage, c.want, "--help")
	}
}

func TestUnknownCommandNamesTheNearest(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"pbu"}, "the nearest is pub"},
		{[]string{"topolgy", "--json"}, "the nearest is topology"},
		{[]string{"key", "nwe"}, "the nearest is new"},
		{[]string{"help", "serv"}, "the nearest is serve"},
		{[]string{"bench", "put"}, "the nearest is pub"},
	} {
		skein(t, c.args...).want(t, exitUsage, c.want)
	}
}

func TestStrayArgumentIsWrongUsage(t *testing.T) {
	skein(t, "nodes", "all").want(t, exitUsage)
	skein(t, "completion").want(t, exitUsage)
	skein(t, "completion", "tcsh").want(t, exitUsage, "tcsh")
}

func TestEveryCommandHasAnExampleAndAShortText(t *testing.T) {
	commands(func(c *cobra.Command) {
		if c.Example == "" {
			t.Errorf("%s: no example", c.CommandPath())
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short text %q: want one without a full stop", c.CommandPath(), c.Short)
		}
	})
}

func TestEveryCommandThatPrintsHasJSON(t *testing.T) {
	without := []string{"skein completion", "skein help"} // their output is a script, and this text
	commands(func(c *cobra.Command) {
		if c.HasSubCommands() || slices.Contains(without, c.CommandPath()) {
			return
		}
		if c.Flags().Lookup("json") == nil {
			t.Errorf("%s: no --json", c.CommandPath())
		}
	})
}

func TestHelpTextsAreAsKept(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	commands(func(c *cobra.Command) {
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		r := skein(t, args...)
		r.want(t, exitDone)
		got := strings.ReplaceAll(r.out, `(default "`+hostName()+`")`, `(default "HOST")`)
		golden(t, filepath.Join("help", strings.ReplaceAll(c.CommandPath(), " ", "-")+".txt"), got)
	})
}

// golden compares a text with the file of that name in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s", path, got)
	}
}

func TestNearestPrefersFewerEdits(t *testing.T) {
	for _, c := range []struct{ typed, want string }{
		{"sub", "sub"}, {"subb", "sub"}, {"usb", "sub"}, {"pubs", "pub"}, {"lnks", "links"}, {"intrests", "interests"},
	} {
		if got := nearest(c.typed, []string{"pub", "sub", "links", "nodes", "interests"}); got != c.want {
			t.Errorf("nearest(%q) = %q, want %q", c.typed, got, c.want)
		}
	}
	if got := nearest("x", nil); got != "" {
		t.Errorf("nearest of nothing = %q", got)
	}
}

func TestVersionSaysGoAndPlatform(t *testing.T) {
	r := skein(t, "version")
	r.want(t, exitDone)
	if !strings.HasPrefix(r.out, "skein ") || !strings.Contains(r.out, " go1.") {
		t.Errorf("got %q", r.out)
	}
}

func TestCompletionScriptsComplete(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := skein(t, "completion", shell)
		r.want(t, exitDone)
		if !strings.Contains(r.out, "skein") {
			t.Errorf("%s: no script: %.80q", shell, r.out)
		}
	}
	r := skein(t, "__complete", "topol")
	r.want(t, exitDone)
	if !strings.Contains(r.out, "topology") {
		t.Errorf("completing topol: %q", r.out)
	}
}
