package transparency_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/transparency"
)

var members = []string{"version", "checkpoint", "index", "entry", "inclusion", "consistency", "opening", "devices"}

func encode(t testing.TB, a transparency.Answer) []byte {
	t.Helper()
	b, err := json.Marshal(a)
	require.NoError(t, err)
	return b
}

// rewrite spells an answer with its members in the order of the spec, each as change wants it; an empty one is left out.
func rewrite(t testing.TB, answer []byte, change func(name, value string) string) []byte {
	t.Helper()
	var values map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(answer, &values))
	var out []string
	for _, name := range members {
		if value := change(name, string(values[name])); value != "" {
			out = append(out, fmt.Sprintf("%q:%s", name, value))
		}
	}
	return []byte("{" + strings.Join(out, ",") + "}")
}

func TestAnswerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string, max int) []byte { return rapid.SliceOfN(rapid.Byte(), 0, max).Draw(t, name) }
		proof := func(name string) []tlog.Hash {
			p := make([]tlog.Hash, rapid.IntRange(0, 64).Draw(t, name))
			for i := range p {
				p[i] = array[[32]byte](t, "hash")
			}
			return p
		}
		a := transparency.Answer{
			Checkpoint: []byte(rapid.String().Draw(t, "checkpoint")), Index: rapid.Int64Min(0).Draw(t, "index"), Entry: some("entry", 300),
			Inclusion: proof("inclusion"), Consistency: proof("consistency"), Opening: array[[32]byte](t, "opening"), Devices: some("devices", 6100),
		}
		b, err := json.Marshal(a)
		require.NoError(t, err)
		got, err := transparency.ParseAnswer(b)
		require.NoError(t, err)
		require.Equal(t, a, got)
	})
}

func TestAnswerStandsAsTheSpecHasIt(t *testing.T) {
	l := newLog(t, origin).grow(5)
	a := l.answer(t, 3, 5, 2)
	var got struct {
		Version    int
		Checkpoint string
		Index      int64
		Inclusion  [][]byte
		Entry      []byte
		Opening    []byte
		Devices    []byte
	}
	b := encode(t, a)
	require.NoError(t, json.Unmarshal(b, &got))
	require.Equal(t, []any{1, string(a.Checkpoint), int64(3), a.Entry, opening[:], devices},
		[]any{got.Version, got.Checkpoint, got.Index, got.Entry, got.Opening, got.Devices})
	require.Len(t, got.Inclusion, 3)
	require.Equal(t, a.Inclusion[0][:], got.Inclusion[0])
	at := -1
	for _, name := range members {
		i := bytes.Index(b, []byte(`"`+name+`":`))
		require.Greater(t, i, at, name)
		at = i
	}
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, b, " ", "\t"))
	again, err := transparency.ParseAnswer(append(indented.Bytes(), '\n'))
	require.NoError(t, err, "white space is free")
	require.Equal(t, a, again)
	empty := encode(t, transparency.Answer{})
	require.Contains(t, string(empty), `"inclusion":[],"consistency":[]`, "no null")
}

func TestParseAnswerRefuses(t *testing.T) {
	l := newLog(t, origin).grow(5)
	good := encode(t, l.answer(t, 3, 5, 2))
	set := func(member, value string) []byte {
		return rewrite(t, good, func(name, old string) string {
			if name == member {
				return value
			}
			return old
		})
	}
	require.Equal(t, good, set("nothing", ""))
	text := func(b []byte) string { return `"` + base64.StdEncoding.EncodeToString(b) + `"` }
	proof := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(text(make([]byte, 32))+",", n), ",") + "]"
	}
	cases := map[string][]byte{
		"nothing": nil, "null": []byte(`null`), "a list": []byte(`[]`), "no members": []byte(`{}`), "a string": []byte(`"x"`),
		"cut": good[:len(good)-1], "something after": append(bytes.Clone(good), "{}"...), "a bracket after": append(bytes.Clone(good), '}'),
		"too large":          append(bytes.Clone(good), bytes.Repeat([]byte(" "), transparency.MaxAnswer)...),
		"unknown member":     append(bytes.Clone(good[:len(good)-1]), `,"more":1}`...),
		"a member twice":     append(bytes.Clone(good[:len(good)-1]), `,"index":3}`...),
		"name in capitals":   bytes.Replace(good, []byte(`"index"`), []byte(`"Index"`), 1),
		"name escaped":       bytes.Replace(good, []byte(`"index"`), []byte(`"\u0069ndex"`), 1),
		"members in a row":   bytes.Replace(bytes.Replace(good, []byte(`"version":1,`), nil, 1), []byte(`"index":`), []byte(`"version":1,"index":`), 1),
		"not UTF-8":          bytes.Replace(good, []byte(origin), []byte("\xff"+origin[1:]), 1),
		"half a surrogate":   bytes.Replace(good, []byte(origin), []byte(`\ud800`+origin), 1),
		"escaped slash":      bytes.Replace(good, []byte("a.example/"), []byte(`a.example\/`), 1),
		"version 0":          set("version", "0"),
		"version 2":          set("version", "2"),
		"version as text":    set("version", `"1"`),
		"version with point": set("version", "1.0"),
		"index negative":     set("index", "-1"),
		"index -0":           set("index", "-0"),
		"index exponent":     set("index", "3e0"),
		"index too large":    set("index", "9223372036854775808"),
		"entry URL alphabet": set("entry", `"__8="`),
		"entry unpadded":     set("entry", `"AAA"`),
		"entry spare bits":   set("entry", `"AAB="`),
		"entry line break":   set("entry", `"AAAA\nAAAA"`),
		"opening short":      set("opening", text(make([]byte, 31))),
		"opening long":       set("opening", text(make([]byte, 33))),
		"opening empty":      set("opening", `""`),
		"devices not base64": set("devices", `"*"`),
		"inclusion of 65":    set("inclusion", proof(65)),
		"consistency of 65":  set("consistency", proof(65)),
		"a hash short":       set("inclusion", "["+text(make([]byte, 31))+"]"),
		"a hash long":        set("consistency", "["+text(make([]byte, 33))+"]"),
		"a hash null":        set("inclusion", "[null]"),
		"proof as text":      set("consistency", text(make([]byte, 32))),
	}
	for _, name := range members {
		cases[name+" left out"] = set(name, "")
		cases[name+" null"] = set(name, "null")
		cases[name+" an object"] = set(name, "{}")
	}
	for name, b := range cases {
		a, err := transparency.ParseAnswer(b)
		require.Error(t, err, name)
		require.Zero(t, a, name)
	}
	_, err := transparency.ParseAnswer(set("inclusion", proof(64)))
	require.NoError(t, err)
	_, err = transparency.ParseAnswer(append(bytes.Clone(good), bytes.Repeat([]byte(" "), transparency.MaxAnswer-len(good))...))
	require.NoError(t, err)
}

// TestEveryMemberOfAnAnswerIsChecked gives each member in turn the value of another true answer of the same log.
func TestEveryMemberOfAnAnswerIsChecked(t *testing.T) {
	l := newLog(t, origin).grow(4)
	other := entry(transparency.KindUpdate, 9, 0, func(e *transparency.Entry) {
		e.Commitment = transparency.Commit([32]byte{1}, []byte("another list"))
	})
	l.add(other.Marshal()).grow(9)
	mine, theirs := encode(t, l.answer(t, 2, 8, 3)), l.answer(t, 4, 9, 5)
	theirs.Opening, theirs.Devices = [32]byte{1}, []byte("another list")
	known := l.at(3)
	parsed, err := transparency.ParseAnswer(mine)
	require.NoError(t, err)
	_, _, err = known.Check(parsed)
	require.NoError(t, err)
	var foreign map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(encode(t, theirs), &foreign))
	for member, check := range map[string]string{
		"checkpoint": "A2", "index": "A3", "entry": "A3", "inclusion": "A3", "consistency": "A2", "opening": "L5", "devices": "L5",
	} {
		mixed := rewrite(t, mine, func(name, value string) string {
			if name == member {
				return string(foreign[name])
			}
			return value
		})
		a, err := transparency.ParseAnswer(mixed)
		require.NoError(t, err, member)
		refused(t, check, known, a, member)
	}
}
