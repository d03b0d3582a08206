package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/transport"
)

func keyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "key",
		Short:   "Make and name mesh keys",
		Example: "  skein key new > mesh.key",
		RunE:    group,
	}
	cmd.AddCommand(keyNewCommand(a), keyShowCommand(a))
	return cmd
}

func keyNewCommand(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a mesh key",
		Long: `Make a mesh key. Every node that has it belongs to the mesh: certificates, the
encryption of gossip and the names of summaries are derived from it. Keep it as
you keep a password.

To rotate a key without stopping the mesh, append the new one to the key file of
every node and restart them one by one; then move it to the first line
everywhere; then remove the old one.`,
		Example: `  # Owner-only from the first byte on, and never over an older key:
  skein key new --out mesh.key

  # The same through the shell:
  (umask 077; skein key new > mesh.key)`,
		RunE: func(*cobra.Command, []string) error {
			line := strings.TrimSpace(transport.NewKey())
			keys, err := transport.ParseKeys([]byte(line))
			if err != nil {
				return fmt.Errorf("read the new key: %w", err)
			}
			name := keys[0].Fingerprint()
			if out != "" {
				if err := writeKey(out, keyText(line, name)); err != nil {
					return err
				}
			}
			switch {
			case a.json && out != "":
				return a.out.json(map[string]string{"fingerprint": name, "file": out})
			case a.json:
				return a.out.json(map[string]string{"fingerprint": name, "key": line})
			case out != "":
				a.out.printf("key %s is in %s\n", name, out)
			default:
				a.out.printf("%s", keyText(line, name))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write to a new `file` that only its owner can read, instead of printing")
	a.addJSON(cmd)
	return cmd
}

func keyText(line, fingerprint string) string {
	return fmt.Sprintf("# Skein mesh key %s. Secret: whoever has it belongs to the mesh.\n%s\n", fingerprint, line)
}

func writeKey(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("write the key: %s exists, and a key is never overwritten: choose another name, or move it away", path)
	case err != nil:
		return fmt.Errorf("write the key: %w", err)
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return fmt.Errorf("write the key: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	return nil
}

func keyShowCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Name the keys of a key file by their fingerprints",
		Long: `Name the keys of a key file by their fingerprints, which give nothing away and
are what nodes log when two of them have different keys. The first key issues
certificates; all are accepted.`,
		Example: "  skein key show mesh.key",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			keys, err := transport.LoadKeys(args[0])
			if err != nil {
				return err
			}
			type row struct {
				Fingerprint string `json:"fingerprint"`
				Use         string `json:"use"`
			}
			rows := make([]row, len(keys))
			for i, k := range keys {
				rows[i] = row{k.Fingerprint(), "accepts"}
			}
			rows[0].Use = "issues"
			if a.json {
				return a.out.json(rows)
			}
			var cells [][]cell
			for _, r := range rows {
				cells = append(cells, []cell{{r.Fingerprint, bold}, {r.Use, plain}})
			}
			a.out.table([]string{"FINGERPRINT", "USE"}, cells)
			return nil
		},
	}
	a.addJSON(cmd)
	return cmd
}
