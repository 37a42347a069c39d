// Package strictjson reads JSON from outside: UTF-8, no escapes that are half a character, no duplicate keys (also none that
// encoding/json would take for the same member because they differ in case only, except in a JSON-LD @context), bounded depth,
// nothing after the value. encoding/json accepts all of these, and two programs that accept them differently can be made to see
// two messages in one.
package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth of nested arrays and objects.
const MaxDepth = 64

// A SyntaxError says where and why the text is refused.
type SyntaxError struct {
	Offset int64 // bytes
	Reason string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("json: at byte %d: %s", e.Offset, e.Reason) }

// Check holds the rules without keeping anything; depth is usually MaxDepth.
func Check(data []byte, depth int) error {
	if !utf8.Valid(data) {
		return &SyntaxError{int64(invalidAt(data)), "not UTF-8"}
	}
	if at := loneSurrogate(data); at >= 0 {
		return &SyntaxError{int64(at), "half a surrogate pair"}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := value(dec, depth, fold); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return &SyntaxError{dec.InputOffset(), "something follows the value"}
	}
	return nil
}

func invalidAt(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(data)
}

// loneSurrogate finds an escape that encoding/json would turn into U+FFFD. Outside strings there are no backslashes in JSON,
// so it need not know where strings are; what is no JSON is refused afterwards.
func loneSurrogate(data []byte) int {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		if r := escaped(data[i:]); !utf16.IsSurrogate(r) {
			i++ // past what is escaped, which may be a backslash
		} else if utf16.DecodeRune(r, escaped(data[i+6:])) == unicode.ReplacementChar {
			return i
		} else {
			i += 11
		}
	}
	return -1
}

// escaped reads \uXXXX; 0 stands for anything else.
func escaped(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}

// fold maps keys that encoding/json takes for the same member of a struct to one string. It folds as that does: strings.ToLower
// would keep s and U+017F (long s) apart.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next
			}
			r = next
		}
	}, key)
}

// asIs tells keys below @context apart by every letter: JSON-LD names a class and a property with one word that differs in
// case only, and nothing decodes a context into a struct.
func asIs(key string) string { return key }

func value(dec *json.Decoder, depth int, same func(string) string) error {
	token, err := dec.Token()
	if err != nil {
		return syntax(dec, err)
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth == 0 {
		return &SyntaxError{dec.InputOffset(), "nested too deep"}
	}
	seen := map[string]bool{}
	for dec.More() {
		inner := same
		if delim == '{' {
			key, err := newKey(dec, seen, same)
			if err != nil {
				return err
			}
			if key == "@context" {
				inner = asIs
			}
		}
		if err := value(dec, depth-1, inner); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return syntax(dec, err)
	}
	return nil
}

// newKey reads a key that is none of those seen.
func newKey(dec *json.Decoder, seen map[string]bool, same func(string) string) (string, error) {
	token, err := dec.Token()
	if err != nil {
		return "", syntax(dec, err)
	}
	key := token.(string)
	if seen[same(key)] {
		return "", &SyntaxError{dec.InputOffset(), "duplicate key"}
	}
	seen[same(key)] = true
	return key, nil
}

func syntax(dec *json.Decoder, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return &SyntaxError{dec.InputOffset(), "the text ends too early"}
	}
	return &SyntaxError{dec.InputOffset(), "malformed"}
}

// Unmarshal checks and then decodes; unknown members are skipped.
func Unmarshal(data []byte, v any) error {
	if err := Check(data, MaxDepth); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return &SyntaxError{0, "a member is not of the type it must have"}
	}
	return nil
}
