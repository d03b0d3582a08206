package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// installWithin bounds the installation of the SDK. A registry that is slower
// than that is as good as none.
const installWithin = 3 * time.Minute

// TestTheJavaScriptSDKPublishesAndReceives: the exchange itself is
// javascript/exchange.mjs, which fails by itself.
func TestTheJavaScriptSDKPublishesAndReceives(t *testing.T) {
	dir := installSDK(t)
	_, eu, us := twoRegions(t)
	exchange := exec.CommandContext(bounded(t), "node", "exchange.mjs", eu.HTTP, us.HTTP)
	exchange.Dir = dir
	out, err := exchange.CombinedOutput()
	if err != nil {
		t.Fatalf("the exchange failed: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// installSDK puts the scripts and what npm installs for them into a directory.
// Where that is not possible, the test is skipped and says why: that the SDK is
// not to be had says nothing about Skein.
func installSDK(t *testing.T) (dir string) {
	t.Helper()
	if testing.Short() {
		t.Skip("installing the SDK takes its time")
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the JavaScript SDK is not tested: there is no %s here", tool)
		}
	}
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("javascript")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), installWithin)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1")
	install.Dir = dir
	install.WaitDelay = time.Second // for what npm has started itself
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("the JavaScript SDK is not tested: npm cannot install it: %v\n%s", err, firstLines(string(out), 5))
	}
	for _, name := range []string{"cloudevents", "ws"} {
		if _, err := os.Stat(filepath.Join(dir, "node_modules", name, "package.json")); err != nil {
			t.Skipf("the JavaScript SDK is not tested: npm has not installed it: %v", err)
		}
	}
	return dir
}

// firstLines is the beginning of a text.
func firstLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[:min(n, len(lines))], "\n")
}
