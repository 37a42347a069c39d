package strictjson

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf16"
)

// A scanner goes once over a text that is known to be UTF-8. It stands in front of every signature check, so that whoever sends what is no
// JSON, or a lot of it, must not make us compute more than they do: it takes memory for the keys of the objects it is in and for nothing else.
type scanner struct {
	data []byte
	at   int
}

func (s *scanner) space() {
	for s.at < len(s.data) && (s.data[s.at] == ' ' || s.data[s.at] == '\n' || s.data[s.at] == '\t' || s.data[s.at] == '\r') {
		s.at++
	}
}

// next is the byte that a token begins with; 0, which begins none, at the end.
func (s *scanner) next() byte {
	if s.space(); s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

func (s *scanner) wrong() error {
	if s.at >= len(s.data) {
		return &SyntaxError{int64(len(s.data)), "the text ends too early"}
	}
	return &SyntaxError{int64(s.at), "malformed"}
}

func (s *scanner) end() error {
	if s.space(); s.at < len(s.data) {
		return &SyntaxError{int64(s.at) + 1, "something follows the value"}
	}
	return nil
}

// take goes past a byte that must stand there.
func (s *scanner) take(b byte) error {
	if s.next() != b || s.at >= len(s.data) {
		return s.wrong()
	}
	s.at++
	return nil
}

func (s *scanner) value(depth int, same func(string) string) error {
	switch b := s.next(); {
	case (b == '{' || b == '[') && depth == 0:
		return &SyntaxError{int64(s.at) + 1, "nested too deep"}
	case b == '{':
		return s.object(depth-1, same, nil)
	case b == '[':
		return s.array(depth-1, same)
	case b == '"':
		_, err := s.text()
		return err
	case b == '-' || isDigit(b):
		return s.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(s.data[s.at:], []byte(word)) {
			s.at += len(word)
			return nil
		}
	}
	return s.wrong()
}

// object reads one whose members may be so deep, and keeps them if there is something to keep them in.
func (s *scanner) object(depth int, same func(string) string, into map[string]json.RawMessage) error {
	s.at++
	if s.next() == '}' {
		s.at++
		return nil
	}
	var seen keys
	for {
		key, err := s.key()
		if err != nil {
			return err
		}
		if !seen.add(same(key)) {
			return &SyntaxError{int64(s.at), "duplicate key"}
		}
		if err := s.take(':'); err != nil {
			return err
		}
		inner := same
		if key == "@context" {
			inner = asIs
		}
		s.space()
		start := s.at
		if err := s.value(depth, inner); err != nil {
			return err
		}
		if into != nil {
			into[key] = s.data[start:s.at]
		}
		if s.next() == '}' {
			s.at++
			return nil
		}
		if err := s.take(','); err != nil {
			return err
		}
	}
}

func (s *scanner) array(depth int, same func(string) string) error {
	s.at++
	if s.next() == ']' {
		s.at++
		return nil
	}
	for {
		if err := s.value(depth, same); err != nil {
			return err
		}
		if s.next() == ']' {
			s.at++
			return nil
		}
		if err := s.take(','); err != nil {
			return err
		}
	}
}

// key reads a text and gives what it says.
func (s *scanner) key() (string, error) {
	if s.next() != '"' {
		return "", s.wrong()
	}
	start := s.at
	escapes, err := s.text()
	if err != nil {
		return "", err
	}
	if !escapes {
		return string(s.data[start+1 : s.at-1]), nil
	}
	var key string
	if json.Unmarshal(s.data[start:s.at], &key) != nil {
		return "", s.wrong()
	}
	return key, nil
}

// text goes past a string.
func (s *scanner) text() (escapes bool, err error) {
	s.at++
	for s.at < len(s.data) {
		switch b := s.data[s.at]; {
		case b == '"':
			s.at++
			return escapes, nil
		case b == '\\':
			if err := s.escape(); err != nil {
				return false, err
			}
			escapes = true
		case b < ' ':
			return false, s.wrong()
		default:
			s.at++
		}
	}
	return false, s.wrong()
}

// escape refuses what encoding/json would turn into U+FFFD.
func (s *scanner) escape() error {
	rest := s.data[s.at:]
	if len(rest) > 1 && bytes.IndexByte([]byte(`"\/bfnrt`), rest[1]) >= 0 {
		s.at += 2
		return nil
	}
	r, ok := escaped(rest)
	switch {
	case !ok:
		return s.wrong()
	case !utf16.IsSurrogate(r):
		s.at += 6
		return nil
	}
	if second, ok := escaped(rest[6:]); !ok || utf16.DecodeRune(r, second) == '\uFFFD' {
		return &SyntaxError{int64(s.at), "half a surrogate pair"}
	}
	s.at += 12
	return nil
}

// escaped reads \uXXXX.
func escaped(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

func (s *scanner) number() error {
	if s.data[s.at] == '-' {
		s.at++
	}
	if s.at < len(s.data) && s.data[s.at] == '0' {
		s.at++
	} else if !s.digits() {
		return s.wrong()
	}
	if s.at < len(s.data) && s.data[s.at] == '.' {
		if s.at++; !s.digits() {
			return s.wrong()
		}
	}
	if s.at < len(s.data) && s.data[s.at]|0x20 == 'e' {
		s.at++
		if s.at < len(s.data) && (s.data[s.at] == '+' || s.data[s.at] == '-') {
			s.at++
		}
		if !s.digits() {
			return s.wrong()
		}
	}
	return nil
}

// digits goes past one or more.
func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.data) && isDigit(s.data[s.at]) {
		s.at++
	}
	return s.at > start
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// keys are those of one object. Most have few; looking through more of them one by one would take an attacker's time squared.
type keys struct {
	few  []string
	many map[string]bool
}

const fewKeys = 16

func (k *keys) add(key string) (isNew bool) {
	if k.many == nil && len(k.few) < fewKeys {
		if slices.Contains(k.few, key) {
			return false
		}
		k.few = append(k.few, key)
		return true
	}
	if k.many == nil {
		k.many = map[string]bool{}
		for _, f := range k.few {
			k.many[f] = true
		}
	}
	if k.many[key] {
		return false
	}
	k.many[key] = true
	return true
}
