// Package strictjson reads JSON from outside: UTF-8, no duplicate keys (also none that encoding/json would take for the same
// member because they differ in case only), bounded depth, nothing after the value. encoding/json accepts all of these, and
// two programs that accept them differently can be made to see two messages in one.
package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
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
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := value(dec, depth); err != nil {
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

func value(dec *json.Decoder, depth int) error {
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
		if delim == '{' {
			key, err := dec.Token()
			if err != nil {
				return syntax(dec, err)
			}
			folded := strings.ToLower(key.(string))
			if seen[folded] {
				return &SyntaxError{dec.InputOffset(), "duplicate key"}
			}
			seen[folded] = true
		}
		if err := value(dec, depth-1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return syntax(dec, err)
	}
	return nil
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
