package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/skeinmesh/skein/test/realmesh"
)

// desk is where a reader of the README sits: a directory with the binary in it,
// and as many terminals as it takes. Since others may sit at the same machine,
// ports have other numbers than in the README.
type desk struct {
	t     *testing.T
	dir   string
	env   []string
	ports *strings.Replacer
}

// numbersOf are the ports of the README: of the mesh over UDP, of HTTP over TCP.
var numbersOf = map[string][]string{"udp": {"7420", "7421", "7422"}, "tcp": {"8420", "8421", "8422"}}

func newDesk(t *testing.T) *desk {
	t.Helper()
	if testing.Short() {
		t.Skip("a mesh of processes takes its time")
	}
	d := &desk{t: t, dir: t.TempDir()}
	if err := os.Symlink(realmesh.Binary(t), filepath.Join(d.dir, "skein")); err != nil {
		t.Fatal(err)
	}
	var ports []string
	for network, numbers := range numbersOf {
		for _, number := range numbers {
			ports = append(ports, number, freePort(t, network))
		}
	}
	d.ports = strings.NewReplacer(ports...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SKEIN_") {
			d.env = append(d.env, v)
		}
	}
	// What the README leaves to the default has another port here, too.
	d.env = append(d.env, "SKEIN_SERVER="+d.ports.Replace("http://127.0.0.1:8420"))
	return d
}

// freePort finds a port that is free now. It is held until the test knows them
// all, so that none is found twice.
func freePort(t *testing.T, network string) string {
	t.Helper()
	const anyPort = "127.0.0.1:0"
	var addr net.Addr
	if network == "udp" {
		conn, err := net.ListenPacket("udp4", anyPort)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		addr = conn.LocalAddr()
	} else {
		l, err := net.Listen("tcp4", anyPort)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addr = l.Addr()
	}
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// words is a command line with this desk's ports.
func (d *desk) words(line []string) (words []string) {
	for _, w := range line {
		words = append(words, d.ports.Replace(w))
	}
	return words
}

func (d *desk) command(ctx context.Context, line []string) *exec.Cmd {
	words := d.words(line)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir, cmd.Env = d.dir, d.env
	return cmd
}

// run runs a command to its end, which must be a good one, and returns what it
// printed.
func (d *desk) run(ctx context.Context, line []string) string {
	d.t.Helper()
	out, err := d.command(ctx, line).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v\n%s", strings.Join(line, " "), err, out)
	}
	return string(out)
}

// program is a command that runs in a terminal of its own.
type program struct {
	*screen
	t    *testing.T
	name string
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
	err  error         // how; to be read once gone is closed
}

// start runs a command until the test ends, and then lets it end politely; it
// must do so with success.
func (d *desk) start(ctx context.Context, line []string) *program {
	d.t.Helper()
	p := &program{
		screen: newScreen(), t: d.t, name: strings.Join(d.words(line), " "),
		cmd: d.command(context.WithoutCancel(ctx), line), gone: make(chan struct{}),
	}
	p.cmd.Stdout, p.cmd.Stderr = p.screen, p.screen
	if err := p.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() { // ends with the process, which the cleanup awaits
		p.err = p.cmd.Wait()
		close(p.gone)
	}()
	d.t.Cleanup(p.end)
	return p
}

// end lets a program end that still runs.
func (p *program) end() {
	select {
	case <-p.gone:
		return
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
	<-p.gone
	if p.err != nil {
		p.t.Errorf("%s ended with %v:\n%s", p.name, p.err, p.text())
	}
	if p.t.Failed() {
		p.t.Logf("%s:\n%s", p.name, p.text())
	}
}

// kill ends a program as a crash would.
func (p *program) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	<-p.gone
}

// await waits until a program shows a text, and fails the test if it ends
// before it does.
func (p *program) await(ctx context.Context, text string) {
	p.t.Helper()
	for {
		shown, changed := p.look()
		if strings.Contains(shown, text) {
			return
		}
		select {
		case <-changed:
		case <-p.gone:
			p.t.Fatalf("%s ended with %v before it showed %q:\n%s", p.name, p.err, text, p.text())
		case <-ctx.Done():
			p.t.Fatalf("%s does not show %q:\n%s", p.name, text, p.text())
		}
	}
}

// screen is what programs have shown.
type screen struct {
	mu      sync.Mutex // guards the fields below
	shown   bytes.Buffer
	changed chan struct{} // closed and replaced when more is shown
}

func newScreen() *screen { return &screen{changed: make(chan struct{})} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return s.shown.Write(b)
}

// look is what is shown, and what is closed when that changes.
func (s *screen) look() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String(), s.changed
}

func (s *screen) text() string {
	shown, _ := s.look()
	return shown
}

// commands splits a block of shell commands into their words, as a shell does
// with quotes in single quotes, line ends behind a backslash, and blanks.
func commands(block string) (list [][]string, err error) {
	var words []string
	var word strings.Builder
	inWord, quoted := false, false
	endWord := func() {
		if inWord {
			words = append(words, word.String())
			word.Reset()
			inWord = false
		}
	}
	for i := 0; i < len(block); i++ {
		switch c := block[i]; {
		case c == '\'':
			quoted, inWord = !quoted, true
		case quoted:
			word.WriteByte(c)
		case c == '\\' && i+1 < len(block) && block[i+1] == '\n':
			i++
			endWord()
		case strings.IndexByte("\"\\$`|&;<>*?#~(){}[]!", c) >= 0:
			return nil, fmt.Errorf("%q means something to a shell that this test does not know", c)
		case c == '\n':
			endWord()
			if words != nil {
				list = append(list, words)
			}
			words = nil
		case c == ' ':
			endWord()
		default:
			inWord = true
			word.WriteByte(c)
		}
	}
	if endWord(); words != nil {
		list = append(list, words)
	}
	if quoted {
		return nil, fmt.Errorf("a quote does not end: %s", block)
	}
	return list, nil
}
