package realmesh

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Node is a node and its process.
type Node struct {
	Name, Region string
	Binary       string // of the next start
	ID           string // as it said when it was last ready
	Boot         uint64 // the same; see Peers
	HTTP         string // URL of its HTTP port; another one after each start

	t                 testing.TB
	flags             []string
	listen, advertise netip.AddrPort
	logFile           string
	cmd               *exec.Cmd
	stdin             io.Closer      // the process ends when this closes, so none outlives the test
	ready             chan readyLine // gets one line when the node is ready
	gone              chan struct{}  // closed when the process has ended
	wg                sync.WaitGroup // of follow
	err               error          // how it ended; to be read once gone is closed
}

// readyLine is what serve prints when its node is ready.
type readyLine struct {
	Ready bool   `json:"ready"`
	ID    string `json:"id"`
	HTTP  string `json:"http"`
}

// PeerView is a node as another one sees it.
type PeerView struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Boot  uint64 `json:"boot"`
	State string `json:"state"`
}

// LinkView is a link as one of its ends sees it.
type LinkView struct {
	To    string    `json:"toName"`
	State string    `json:"state"`
	Since time.Time `json:"since"` // when the state became so
}

// leaveTime is how long a process may take to leave before it is killed.
const leaveTime = 30 * time.Second

func (n *Node) launch(binary string, args []string) {
	n.t.Helper()
	log, err := os.OpenFile(n.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(binary, args...)
	cmd.Stderr = log
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SKEIN_") { // it is told everything by flags
			cmd.Env = append(cmd.Env, v)
		}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatalf("start %s: %v", n.Name, err)
	}
	n.cmd, n.stdin, n.ready, n.gone = cmd, stdin, make(chan readyLine, 1), make(chan struct{})
	n.wg.Go(func() { n.follow(stdout) })
}

// follow reads what a process prints until it ends.
func (n *Node) follow(stdout io.Reader) {
	defer close(n.gone)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var line readyLine
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Ready {
			n.ready <- line // serve says it once
		}
	}
	n.err = n.cmd.Wait()
}

func (n *Node) awaitReady() {
	n.t.Helper()
	select {
	case line := <-n.ready:
		n.ID, n.HTTP = line.ID, line.HTTP
	case <-n.gone:
		n.t.Fatalf("%s ended before it was ready: %v", n.Name, n.err)
	case <-time.After(Patience):
		n.t.Fatalf("%s is not ready after %v", n.Name, Patience)
	}
	for _, v := range n.Peers() {
		if v.ID == n.ID {
			n.Boot = v.Boot
		}
	}
}

// Running reports whether the node has a process.
func (n *Node) Running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.gone:
		return false
	default:
		return true
	}
}

// Kill ends the process as a crash would, and waits for its end.
func (n *Node) Kill() {
	n.t.Helper()
	if err := n.cmd.Process.Kill(); err != nil {
		n.t.Fatalf("kill %s: %v", n.Name, err)
	}
	n.wg.Wait()
}

// Pause stops the process where it is, as if its machine had frozen: it keeps all
// it has and does nothing. Do not ask it for anything before Resume.
func (n *Node) Pause() { n.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (n *Node) Resume() { n.signal(syscall.SIGCONT) }

func (n *Node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatalf("send %v to %s: %v", s, n.Name, err)
	}
}

// Terminate lets the node leave and returns how its process ended: nil when
// all was well.
func (n *Node) Terminate() error {
	// One that is gone already is noticed below, one that is paused goes on.
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	_ = n.cmd.Process.Signal(syscall.SIGCONT)
	select {
	case <-n.gone:
	case <-time.After(leaveTime):
		_ = n.cmd.Process.Signal(syscall.SIGQUIT) // its log has then what it waits for
		select {
		case <-n.gone:
		case <-time.After(leaveTime):
			_ = n.cmd.Process.Kill() // it may have ended at this moment
		}
		n.wg.Wait()
		return fmt.Errorf("it did not leave within %v", leaveTime)
	}
	n.wg.Wait()
	return n.err
}

// Peers lists the nodes that this one knows, itself among them.
func (n *Node) Peers() (list []PeerView) {
	n.t.Helper()
	n.Get("/mesh/nodes", &list)
	return list
}

// Links lists the links of this node.
func (n *Node) Links() (list []LinkView) {
	n.t.Helper()
	n.Get("/mesh/links", &list)
	return list
}

// Get decodes the answer of the node's HTTP port into a value.
func (n *Node) Get(path string, into any) {
	n.t.Helper()
	client := http.Client{Timeout: Patience}
	res, err := client.Get(n.HTTP + path)
	if err != nil {
		n.t.Fatalf("ask %s: %v", n.Name, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		n.t.Fatalf("ask %s for %s: %s", n.Name, path, res.Status)
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		n.t.Fatalf("ask %s for %s: %v", n.Name, path, err)
	}
}

// Log is all that the node has logged.
func (n *Node) Log() ([]byte, error) { return os.ReadFile(n.logFile) }

// logTail is the end of what the node logged.
func (n *Node) logTail() string {
	const most = 4096
	data, err := n.Log()
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-most):])
}
