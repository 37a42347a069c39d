// Package strictjson reads JSON from outside: UTF-8, no escapes that are half a character, no duplicate keys (also none that
// encoding/json would take for the same member because they differ in case only, except in a JSON-LD @context), bounded depth,
// nothing after the value. encoding/json accepts all of these, and two programs that accept them differently can be made to see
// two messages in one.
package strictjson

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
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
	s := scanner{data: data}
	if err := s.value(depth, fold); err != nil {
		return err
	}
	return s.end()
}

// Members checks an object and gives its members as they stand there; they share the memory of data. It is what Unmarshal into such a
// map gives, for half of the work; of null, which is no object either, it gives nil and no error, too.
func Members(data []byte) (map[string]json.RawMessage, error) {
	s := scanner{data: data}
	if s.next() != '{' || !utf8.Valid(data) {
		var none map[string]json.RawMessage
		return none, Unmarshal(data, &none)
	}
	members := map[string]json.RawMessage{}
	if err := s.object(MaxDepth-1, fold, members); err != nil {
		return nil, err
	}
	return members, s.end()
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

// fold maps keys that encoding/json takes for the same member of a struct to one string. It folds as that does: strings.ToLower
// would keep s and U+017F (long s) apart.
func fold(key string) string {
	if isASCII(key) {
		return strings.ToUpper(key)
	}
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

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// asIs tells keys below @context apart by every letter: JSON-LD names a class and a property with one word that differs in
// case only, and nothing decodes a context into a struct.
func asIs(key string) string { return key }

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
