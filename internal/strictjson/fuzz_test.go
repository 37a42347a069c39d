package strictjson_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/strictjson"
)

// members is a struct whose fields can be named in many ways that differ in case only.
type members struct {
	S    json.RawMessage `json:"s"`
	K    json.RawMessage `json:"k"`
	Task json.RawMessage `json:"task"`
	Å    json.RawMessage `json:"å"`
}

func (m members) of(name string) json.RawMessage {
	return map[string]json.RawMessage{"s": m.S, "k": m.K, "task": m.Task, "å": m.Å}[name]
}

// FuzzCheck holds what Check promises: what it calls no JSON is none to encoding/json, what it accepts is JSON, reads the same token by token and at once, and gives a struct and
// a map the same members.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		`{"s":1,"k":2,"task":[3],"å":null}`, `{"S":1,"K":2}`, "{\"s\":1,\"\u017f\":2}", "{\"k\":1,\"\u212a\":2}", "{\"ta\u017f\u212a\":1}",
		`{"\ud83d\ude00":"\ud800"}`, `[1,[2,{"a":-0.1e5}]]`, `"\\u0041"`, "\ufeff1", ` {} `, `1 2`, `{"a":1,"a":2}`, "{\"å\":1,\"\u212b\":2}",
		`[0,-0,1e9,1.0E-9,01]`, `{"a":"\/\b","c":[{},[]]}`, `{"0":0,"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"A":0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := strictjson.Check(data, strictjson.MaxDepth); err != nil {
			var syntax *strictjson.SyntaxError
			require.ErrorAs(t, err, &syntax)
			require.LessOrEqual(t, syntax.Offset, int64(len(data)))
			_, same := strictjson.Members(data)
			require.Equal(t, err, same)
			if slices.Contains([]string{"malformed", "the text ends too early", "something follows the value"}, syntax.Reason) {
				require.False(t, json.Valid(data))
			}
			return
		}
		require.True(t, json.Valid(data))
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		var v any
		require.NoError(t, dec.Decode(&v))
		again, err := json.Marshal(v)
		require.NoError(t, err)
		require.NoError(t, strictjson.Check(again, strictjson.MaxDepth), "its own rendering")

		var asMap map[string]json.RawMessage
		var asStruct members
		split, err := strictjson.Members(data)
		if json.Unmarshal(data, &asMap) != nil {
			require.Error(t, err)
			require.Error(t, json.Unmarshal(data, &asStruct))
			return
		}
		require.NoError(t, err)
		require.Equal(t, asMap, split)
		require.NoError(t, json.Unmarshal(data, &asStruct))
		for _, name := range []string{"s", "k", "task", "å"} {
			var found []json.RawMessage
			for key, raw := range asMap {
				if strings.EqualFold(key, name) {
					found = append(found, raw)
				}
			}
			require.LessOrEqual(t, len(found), 1, "two members that are one to encoding/json")
			if len(found) == 1 {
				require.Equal(t, string(found[0]), string(asStruct.of(name)))
			} else {
				require.Nil(t, asStruct.of(name))
			}
		}
	})
}
