package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envPrefix begins the environment's name of every flag.
const envPrefix = "SKEIN_"

// delim separates levels of keys. Flags' names have one level; the delimiter
// is one that no name has, so a key with a dot is an unknown key and no path.
const delim = "\x00"

// configure puts together what the command's flags are set to: the command
// line wins over the environment, that over the file, that over the defaults.
func (a *app) configure(cmd *cobra.Command) error {
	fs := cmd.Flags()
	fromEnv := koanf.New(delim)
	if err := fromEnv.Load(env.Provider(delim, env.Opt{Prefix: envPrefix, TransformFunc: envKey}), nil); err != nil {
		return fmt.Errorf("read the environment: %w", err)
	}
	if path := fromEnv.String("config"); path != "" && !fs.Changed("config") {
		a.config = path
	}
	all := koanf.New(delim)
	if a.config != "" {
		if err := loadFile(all, a.config, knownKeys(cmd.Root())); err != nil {
			return err
		}
	}
	// A variable that is no flag is none of our business: orchestrators put
	// SKEIN_PORT and the like there for a service that is called skein.
	if err := all.Merge(fromEnv); err != nil {
		return fmt.Errorf("read the environment: %w", err)
	}
	var failed error
	fs.VisitAll(func(f *pflag.Flag) {
		if failed != nil || f.Changed || !configurable(f) || !all.Exists(f.Name) {
			return
		}
		where := a.config + ": " + f.Name
		if fromEnv.Exists(f.Name) {
			where = envName(f.Name)
		}
		if err := set(fs, f, all.Get(f.Name)); err != nil {
			failed = usagef("%s: %w", where, err)
		}
	})
	return failed
}

// loadFile reads the configuration file; every key must be a flag of some
// command, so that a misspelt one is found when it is made.
func loadFile(into *koanf.Koanf, path string, known []string) error {
	if err := into.Load(file.Provider(path), yaml.Parser()); err != nil {
		return fmt.Errorf("read the configuration %s: %w", path, err)
	}
	for _, key := range slices.Sorted(maps.Keys(into.Raw())) {
		if !slices.Contains(known, key) {
			return usagef("%s: unknown key %q%s", path, key, didYouMean(key, "", known))
		}
	}
	return nil
}

// set gives a flag a value from elsewhere, a list as a list.
func set(fs *pflag.FlagSet, f *pflag.Flag, value any) error {
	switch v := value.(type) {
	case nil, map[string]any:
		return errors.New("a value is expected")
	case []any:
		slice, ok := f.Value.(pflag.SliceValue)
		if !ok {
			return errors.New("one value is expected, not a list")
		}
		texts := make([]string, len(v))
		for i := range v {
			texts[i] = fmt.Sprint(v[i])
		}
		f.Changed = true
		return slice.Replace(texts)
	}
	return fs.Set(f.Name, fmt.Sprint(value))
}

// knownKeys lists the flags of all commands, sorted.
func knownKeys(root *cobra.Command) []string {
	known := map[string]bool{}
	eachCommand(root, func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if configurable(f) {
				known[f.Name] = true
			}
		})
	})
	return slices.Sorted(maps.Keys(known))
}

// configurable tells the flags that mean something outside the command line.
func configurable(f *pflag.Flag) bool { return f.Name != "help" && f.Name != "config" }

func envKey(name, value string) (string, any) {
	name = strings.TrimPrefix(name, envPrefix)
	if value == "" || name != strings.ToUpper(name) {
		return "", nil
	}
	return strings.ReplaceAll(strings.ToLower(name), "_", "-"), value
}

func envName(flag string) string {
	return envPrefix + strings.ReplaceAll(strings.ToUpper(flag), "-", "_")
}

// eachCommand visits a command and all below it.
func eachCommand(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, c := range cmd.Commands() {
		eachCommand(c, visit)
	}
}
