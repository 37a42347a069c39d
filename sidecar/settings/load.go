package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

const maxFile = 64 << 10

// Loaded are settings, and where each of them comes from.
type Loaded struct {
	Settings
	from map[string]string // by key: for people to read
}

// From says where the value of a key comes from.
func (l Loaded) From(name string) string { return l.from[name] }

// Flags are those of one command.
type Flags struct {
	cmd   *cobra.Command
	names []string
	file  string
	given Settings
}

// Bind gives a command the flags of some keys, and --config.
func Bind(cmd *cobra.Command, names ...string) *Flags {
	f := &Flags{cmd: cmd, names: names, given: Defaults()}
	cmd.Flags().StringVar(&f.file, "config", "", `file of settings, see "waxwingd help config"; also `+fileVariable)
	for _, k := range keys {
		if !slices.Contains(names, k.name) {
			continue
		}
		help := firstSentence(k.doc)
		switch v := k.into(&f.given).(type) {
		case *string:
			cmd.Flags().StringVar(v, k.flag(), *v, help)
		case *bool:
			cmd.Flags().BoolVar(v, k.flag(), *v, help)
		case *int:
			cmd.Flags().IntVar(v, k.flag(), *v, help)
		case *[]string:
			cmd.Flags().StringArrayVar(v, k.flag(), *v, help+"; may be given several times")
		}
	}
	return f
}

func firstSentence(doc string) string {
	first, _, _ := strings.Cut(doc, ". ")
	return strings.ToLower(first[:1]) + strings.TrimSuffix(first[1:], ".")
}

// Load puts together what the flags, the environment and the file say. Its errors name the place and the key.
func (f *Flags) Load(environ []string) (Loaded, error) {
	l := Loaded{Defaults(), map[string]string{}}
	for _, k := range keys {
		l.from[k.name] = "default"
	}
	variables, path, err := variablesOf(environ)
	if err != nil {
		return l, err
	}
	if f.file != "" {
		path = f.file
	}
	if path != "" {
		if err := l.file(path); err != nil {
			return l, err
		}
	}
	for _, k := range keys {
		text, ok := variables[k.variable()]
		if !ok {
			continue
		}
		if err := parse(k.into(&l.Settings), text); err != nil {
			return l, fmt.Errorf("%s in the environment: %w", k.variable(), err)
		}
		l.from[k.name] = k.variable() + " in the environment"
	}
	f.flags(&l)
	return l, l.check()
}

func (f *Flags) flags(l *Loaded) {
	for _, k := range keys {
		if slices.Contains(f.names, k.name) && f.cmd.Flags().Changed(k.flag()) {
			assign(k.into(&l.Settings), k.into(&f.given))
			l.from[k.name] = "--" + k.flag()
		}
	}
}

func (l Loaded) check() error {
	for _, k := range keys {
		if k.check == nil {
			continue
		}
		if err := k.check(l.Settings); err != nil {
			return fmt.Errorf("%s (%s): %w", k.name, l.from[k.name], err)
		}
	}
	return nil
}

// variablesOf finds what in the environment is meant for this program.
func variablesOf(environ []string) (variables map[string]string, path string, err error) {
	variables = map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if name == fileVariable {
			path = value
			continue
		}
		known := strings.ToLower(strings.TrimPrefix(name, prefix))
		if k, ok := find(known); !ok || k.variable() != name {
			return nil, "", fmt.Errorf("%s in the environment means nothing%s", name, nearest(known, func(k key) string { return k.variable() }))
		}
		variables[name] = value
	}
	return variables, path, nil
}

// parse reads a value as the environment has it. Several are set apart by spaces.
func parse(into any, text string) error {
	switch into := into.(type) {
	case *string:
		*into = text
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*into = b
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		*into = n
	case *[]string:
		*into = strings.Fields(text)
	}
	return nil
}

func assign(into, from any) {
	switch into := into.(type) {
	case *string:
		*into = *from.(*string)
	case *bool:
		*into = *from.(*bool)
	case *int:
		*into = *from.(*int)
	case *[]string:
		*into = *from.(*[]string)
	}
}

func (l *Loaded) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = errors.New("the file is too large")
	}
	if err != nil {
		return fmt.Errorf("reading the settings in %s: %w", path, err)
	}
	return l.parse(path, text)
}

// nearest is the end of a sentence that says what may have been meant, or nothing.
func nearest(name string, spell func(key) string) string {
	best, least := "", 4
	for _, k := range keys {
		if d := distance(name, k.name); d < least && d <= len(name)/2 {
			best, least = spell(k), d
		}
	}
	if best == "" {
		return `; "waxwingd help config" has the list`
	}
	return ": did you mean " + best + "?"
}

// distance counts the letters to change, add or take away.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal, row[j+1] = row[j+1], min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
