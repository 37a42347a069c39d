package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// parse takes what a file says. Nothing is taken of one that is wrong anywhere.
func (l *Loaded) parse(path string, text []byte) error {
	lines, err := linesOf(path, text)
	if err != nil {
		return err
	}
	var values map[string]any
	if err := toml.Unmarshal(text, &values); err != nil {
		return syntaxError(path, err)
	}
	next := l.Settings
	for _, name := range sorted(lines) {
		k, ok := find(name)
		at := fmt.Sprintf("%s line %d", path, lines[name])
		if !ok {
			return fmt.Errorf("%s: %s is no key%s", at, name, nearest(name, func(k key) string { return k.name }))
		}
		if err := take(k.into(&next), values[name]); err != nil {
			return fmt.Errorf("%s: %s %w", at, name, err)
		}
		l.from[name] = at
	}
	l.Settings = next
	return nil
}

// linesOf finds where each key stands. Into a struct that has no fields nothing fits, and the decoder says of each key that and where.
func linesOf(path string, text []byte) (map[string]int, error) {
	lines := map[string]int{}
	decoder := toml.NewDecoder(bytes.NewReader(text))
	err := decoder.DisallowUnknownFields().Decode(&struct{}{})
	var missing *toml.StrictMissingError
	switch {
	case err == nil:
		return lines, nil
	case !errors.As(err, &missing):
		return nil, syntaxError(path, err)
	}
	for _, e := range missing.Errors {
		line, _ := e.Position()
		if len(e.Key()) != 1 {
			return nil, fmt.Errorf("%s line %d: there are no tables and no dotted keys in this file", path, line)
		}
		if _, ok := lines[e.Key()[0]]; !ok {
			lines[e.Key()[0]] = line
		}
	}
	return lines, nil
}

func sorted(lines map[string]int) (names []string) {
	for name := range lines {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return lines[a] - lines[b] })
	return names
}

func syntaxError(path string, err error) error {
	var at *toml.DecodeError
	if errors.As(err, &at) {
		line, column := at.Position()
		return fmt.Errorf("%s line %d, column %d: %s", path, line, column, strings.TrimPrefix(at.Error(), "toml: "))
	}
	return fmt.Errorf("%s: %w", path, err)
}

// take sets a value of the file.
func take(into, value any) error {
	ok := true
	switch into := into.(type) {
	case *string:
		if *into, ok = value.(string); !ok {
			return errors.New("is not a text in quotes")
		}
	case *bool:
		if *into, ok = value.(bool); !ok {
			return errors.New("is neither true nor false")
		}
	case *int:
		n, ok := value.(int64)
		if !ok || int64(int(n)) != n {
			return errors.New("is not a number")
		}
		*into = int(n)
	case *[]string:
		list, ok := value.([]any)
		*into = nil
		for _, v := range list {
			text, isText := v.(string)
			ok = ok && isText
			*into = append(*into, text)
		}
		if !ok {
			return errors.New("is not a list of texts, as in [\"one\", \"two\"]")
		}
	}
	return nil
}

const heading = `# How this sidecar runs. A line that begins with "#" says what would hold anyway.
# Each key can also be a variable in the environment (WAXWINGD_ and the key in capitals), which goes before the file,
# or a flag of "waxwingd serve", which goes before both. "waxwingd config check" says what comes of all that.
`

// Write makes a file of settings with all keys and their words; those that have another value than the default are set.
func Write(out io.Writer, s Settings) error {
	var b strings.Builder
	b.WriteString(heading)
	standard := Defaults()
	for _, k := range keys {
		now, usual, err := k.line(s, standard)
		if err != nil {
			return err
		}
		if b.WriteString("\n"); now == usual {
			now = "# " + now
		}
		b.WriteString(wrap(k.doc, "# ") + now + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (k key) line(s, standard Settings) (now, usual string, err error) {
	if now, err = line(k, s); err == nil {
		usual, err = line(k, standard)
	}
	return now, usual, err
}

func line(k key, s Settings) (string, error) {
	value := k.into(&s)
	if list, ok := value.(*[]string); ok && *list == nil {
		value = &[]string{}
	}
	text, err := toml.Marshal(map[string]any{k.name: value})
	return strings.TrimSuffix(string(text), "\n"), err
}

// Help are all keys with their words, defaults, and names elsewhere.
func Help() string {
	var b strings.Builder
	for _, k := range keys {
		usual, err := line(k, Defaults())
		if err != nil {
			panic(err) // the defaults are ours
		}
		fmt.Fprintf(&b, "  %s\n%s      flag --%s, environment %s\n\n", usual, wrap(k.doc, "      "), k.flag(), k.variable())
	}
	return strings.TrimSuffix(b.String(), "\n")
}

const width = 100

// wrap breaks words into lines, each with the indent before it.
func wrap(text, indent string) string {
	var b strings.Builder
	at := width
	for _, word := range strings.Fields(text) {
		if at+len(word) >= width-len(indent) {
			if b.Len() > 0 {
				b.WriteString("\n")
			}
			b.WriteString(indent)
			at = 0
		} else {
			b.WriteString(" ")
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String() + "\n"
}

// Line is how a file says what holds for a key.
func (l Loaded) Line(name string) string {
	k, _ := find(name)
	text, err := line(k, l.Settings)
	if err != nil {
		panic(err) // texts and lists of them can be said
	}
	return text
}
