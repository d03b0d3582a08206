package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// configured parses args for a command with a flag of each kind, and returns
// what the flags were set to.
func configured(t *testing.T, args ...string) (values map[string]string, err error) {
	t.Helper()
	a := &app{}
	values = map[string]string{}
	root := &cobra.Command{Use: "skein", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().StringVar(&a.config, "config", "", "")
	cmd := &cobra.Command{Use: "do", RunE: func(cmd *cobra.Command, _ []string) error {
		if err := a.configure(cmd); err != nil {
			return err
		}
		for _, name := range []string{"region", "count", "seeds", "json"} {
			values[name] = cmd.Flags().Lookup(name).Value.String()
		}
		return nil
	}}
	cmd.Flags().String("region", "default", "")
	cmd.Flags().Int("count", 1, "")
	cmd.Flags().StringSlice("seeds", nil, "")
	cmd.Flags().Bool("json", false, "")
	root.AddCommand(cmd)
	root.SetArgs(append([]string{"do"}, args...))
	return values, root.Execute()
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "skein.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagWinsOverEnvironmentOverFileOverDefault(t *testing.T) {
	file := configFile(t, "region: file\ncount: 7\n")
	for _, c := range []struct {
		env, flag, want string
		args            []string
	}{
		{want: "default"},
		{args: []string{"--config", file}, want: "file"},
		{args: []string{"--config", file}, env: "env", want: "env"},
		{args: []string{"--config", file, "--region", "flag"}, env: "env", want: "flag"},
		{args: []string{"--region", "default"}, env: "env", want: "default"},
	} {
		t.Setenv("SKEIN_REGION", c.env)
		got, err := configured(t, c.args...)
		if err != nil {
			t.Fatal(err)
		}
		if got["region"] != c.want {
			t.Errorf("%v with SKEIN_REGION=%q: region %q, want %q", c.args, c.env, got["region"], c.want)
		}
	}
}

func TestConfigurationHoldsEveryKindOfValue(t *testing.T) {
	file := configFile(t, "seeds: [\"a:1\", \"b:2\"]\njson: true\ncount: 3\n")
	got, err := configured(t, "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	if got["seeds"] != "[a:1,b:2]" || got["json"] != "true" || got["count"] != "3" || got["region"] != "default" {
		t.Errorf("got %v", got)
	}
	t.Setenv("SKEIN_SEEDS", "c:3,d:4")
	if got, err = configured(t, "--config", file); err != nil || got["seeds"] != "[c:3,d:4]" {
		t.Errorf("with SKEIN_SEEDS: %v, %v", got["seeds"], err)
	}
}

func TestConfigurationFileMayBeNamedByTheEnvironment(t *testing.T) {
	t.Setenv("SKEIN_CONFIG", configFile(t, "region: file\n"))
	if got, err := configured(t); err != nil || got["region"] != "file" {
		t.Errorf("got %v, %v", got["region"], err)
	}
}

func TestUnknownKeyNamesTheNearest(t *testing.T) {
	_, err := configured(t, "--config", configFile(t, "regoin: x\n"))
	if err == nil || !strings.Contains(err.Error(), `unknown key "regoin"; the nearest is region`) {
		t.Errorf("got %v", err)
	}
}

func TestUnknownVariablesAreNoneOfOurBusiness(t *testing.T) {
	t.Setenv("SKEIN_PORT_7420_UDP_ADDR", "10.0.0.1")
	if _, err := configured(t); err != nil {
		t.Error(err)
	}
}

func TestBadValueNamesItsPlace(t *testing.T) {
	t.Setenv("SKEIN_COUNT", "many")
	if _, err := configured(t); err == nil || !strings.Contains(err.Error(), "SKEIN_COUNT") {
		t.Errorf("environment: got %v", err)
	}
	t.Setenv("SKEIN_COUNT", "")
	for _, text := range []string{"count: many\n", "count: [1, 2]\n", "count:\n", "count: {a: 1}\n"} {
		file := configFile(t, text)
		if _, err := configured(t, "--config", file); err == nil || !strings.Contains(err.Error(), file+": count") {
			t.Errorf("%q: got %v", text, err)
		}
	}
	if _, err := configured(t, "--config", configFile(t, "\t:x")); err == nil {
		t.Error("a file that is no YAML was taken")
	}
	if _, err := configured(t, "--config", "/does/not/exist"); err == nil {
		t.Error("a file that does not exist was taken")
	}
}
