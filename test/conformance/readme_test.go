package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// byHand is the heading of the README's walk through a mesh of three regions.
const byHand = "## Three regions by hand\n"

// The README is the script: what it tells its readers to type is what runs,
// but for the numbers of ports. What curl and wscat would do with their
// arguments is done here, so that neither is needed.
func TestTheReadmesThreeRegionsByHand(t *testing.T) {
	d := newDesk(t)
	ctx := bounded(t)
	w := &walk{desk: d}
	for _, line := range readmeCommands(t) {
		w.do(ctx, t, line)
	}
	if len(w.nodes) != 3 || len(w.ears) != 3 || w.published != 4 {
		t.Fatalf("the README starts %d nodes and %d subscribers, and publishes %d events; this test expects 3, 3 and 4", len(w.nodes), len(w.ears), w.published)
	}
}

// readmeCommands lists the commands of the walk.
func readmeCommands(t *testing.T) [][]string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), byHand)
	if !found {
		t.Fatalf("the README has no %q", byHand)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var code strings.Builder
	for line := range strings.Lines(section) {
		if typed, is := strings.CutPrefix(line, "    "); is {
			code.WriteString(typed)
		} else {
			code.WriteString("\n")
		}
	}
	list, err := commands(code.String())
	if err != nil {
		t.Fatalf("the README's commands: %v", err)
	}
	return list
}

// walk is how far a reader has come.
type walk struct {
	desk      *desk
	nodes     []*program
	ears      []*ear
	published int
}

// ear is a subscriber: its name, and the ids of what it hears.
type ear struct {
	name string
	ids  <-chan string
}

// do does what a command line says, and looks whether it has worked.
func (w *walk) do(ctx context.Context, t *testing.T, line []string) {
	t.Helper()
	words := w.desk.words(line)
	switch {
	case line[0] == "curl" && slices.Contains(line, "-N"):
		w.ears = append(w.ears, &ear{"Server-Sent Events", serverSentEvents(ctx, t, parseCurl(ctx, t, words))})
	case line[0] == "curl":
		w.publish(ctx, t, words)
	case line[0] == "npx" && line[1] == "wscat":
		w.ears = append(w.ears, &ear{"WebSocket", webSocket(ctx, t, words)})
	case line[0] != "./skein":
		t.Fatalf("the README says %q, which this test cannot do", line)
	case line[1] == "serve":
		node := w.desk.start(ctx, line)
		node.await(ctx, "ready: node")
		w.nodes = append(w.nodes, node)
	case line[1] == "sub":
		w.ears = append(w.ears, &ear{"skein sub", w.sub(ctx, line)})
	default:
		w.look(ctx, t, line)
	}
}

// look runs a command that shows something, and checks that it does.
func (w *walk) look(ctx context.Context, t *testing.T, line []string) {
	t.Helper()
	shown := w.desk.run(ctx, line)
	var want []string
	switch line[1] {
	case "topology":
		want = []string{"3 regions", "3 nodes", "3 of 3 links up", "eu-1", "us-1", "ap-1"}
	case "interests":
		want = []string{"order.>", "us", "ap"}
	case "route":
		want = []string{"us-1", "ap-1"}
	}
	for _, text := range want {
		if !strings.Contains(shown, text) {
			t.Errorf("%s does not show %q:\n%s", strings.Join(line, " "), text, shown)
		}
	}
}

// publish posts what a curl command says, and waits until everybody has heard
// all events of it.
func (w *walk) publish(ctx context.Context, t *testing.T, words []string) {
	t.Helper()
	req := parseCurl(ctx, t, words)
	for _, region := range []string{"us", "ap"} {
		awaitInterest(ctx, t, req.URL.Scheme+"://"+req.URL.Host, region, "order.>")
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	req.Body = io.NopCloser(strings.NewReader(string(body)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		why, _ := io.ReadAll(res.Body)
		t.Fatalf("%q is answered %s: %s", words, res.Status, why)
	}
	want := []string{req.Header.Get("ce-id")}
	switch req.Header.Get("Content-Type") {
	case "application/cloudevents+json":
		want = []string{idOf(t, body)}
	case "application/cloudevents-batch+json":
		var batch []json.RawMessage
		if err := json.Unmarshal(body, &batch); err != nil {
			t.Fatal(err)
		}
		want = nil
		for _, one := range batch {
			want = append(want, idOf(t, one))
		}
	}
	w.published += len(want)
	for _, e := range w.ears {
		for _, id := range want {
			select {
			case got := <-e.ids:
				if got != id {
					t.Fatalf("%s got event %q, want %q", e.name, got, id)
				}
			case <-ctx.Done():
				t.Fatalf("%s does not get event %q", e.name, id)
			}
		}
	}
}

func idOf(t *testing.T, event []byte) string {
	t.Helper()
	var e struct{ ID string }
	if err := json.Unmarshal(event, &e); err != nil {
		t.Fatalf("%s: %v", event, err)
	}
	return e.ID
}

// parseCurl makes the request that curl would, of the options the README uses.
func parseCurl(ctx context.Context, t *testing.T, words []string) *http.Request {
	t.Helper()
	method, target, body := http.MethodGet, "", ""
	header := http.Header{}
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "-i", "-N":
		case "-H":
			i++
			name, value, ok := strings.Cut(words[i], ": ")
			if !ok {
				t.Fatalf("%q is no header", words[i])
			}
			header.Set(name, value)
		case "-d":
			i++
			// curl takes line ends out of files only, not out of arguments.
			method, body = http.MethodPost, words[i]
		default:
			target = words[i]
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	req.Header = header
	return req
}

// sub starts `skein sub`, which prints an event a line.
func (w *walk) sub(ctx context.Context, line []string) <-chan string {
	p := w.desk.start(ctx, line)
	p.await(ctx, "subscribed")
	ids := make(chan string, 64)
	go func() { // ends with the program, or with ctx
		defer close(ids)
		seen := 0
		for {
			shown, changed := p.look()
			for _, text := range strings.SplitAfter(shown[seen:], "\n") {
				var e struct{ ID string }
				if strings.HasSuffix(text, "\n") {
					seen += len(text)
					if json.Unmarshal([]byte(text), &e) == nil {
						ids <- e.ID
					}
				}
			}
			select {
			case <-changed:
			case <-p.gone:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return ids
}

// serverSentEvents subscribes as a request says; the stream has begun when it
// returns.
func serverSentEvents(ctx context.Context, t *testing.T, req *http.Request) <-chan string {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", req.URL, res.Status)
	}
	ids := make(chan string, 64)
	go func() { // ends with the stream, which ends with ctx
		defer close(ids)
		defer res.Body.Close()
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			var e struct{ ID string }
			if data, is := strings.CutPrefix(lines.Text(), "data: "); is && json.Unmarshal([]byte(data), &e) == nil {
				ids <- e.ID
			}
		}
	}()
	return ids
}

// webSocket connects as wscat would: -c URL -s SUBPROTOCOL.
func webSocket(ctx context.Context, t *testing.T, words []string) <-chan string {
	t.Helper()
	option := func(name string) string {
		i := slices.Index(words, name)
		if i < 0 || i+1 == len(words) {
			t.Fatalf("%q has no %s", words, name)
		}
		return words[i+1]
	}
	conn, _, err := websocket.Dial(ctx, option("-c"), &websocket.DialOptions{Subprotocols: []string{option("-s")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	ids := make(chan string, 64)
	go func() { // ends with the connection
		defer close(ids)
		for {
			_, message, err := conn.Read(ctx)
			if err != nil {
				return
			}
			var e struct{ ID string }
			if json.Unmarshal(message, &e) == nil {
				ids <- e.ID
			}
		}
	}()
	return ids
}
