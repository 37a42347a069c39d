package strictjson_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/strictjson"
)

func nested(open, end string, depth int) string {
	return strings.Repeat(open, depth) + "1" + strings.Repeat(end, depth)
}

func TestCheckAccepts(t *testing.T) {
	for name, text := range map[string]string{
		"object":                   `{"a":1,"b":[true,false,null,"x",-1.5e3,{}]}`,
		"white space":              " \t\r\n{ \"a\" : 1 } \n",
		"scalar":                   `"x"`,
		"number":                   `0`,
		"large number":             `123456789012345678901234567890e400`,
		"same key elsewhere":       `{"a":{"a":1},"b":[{"a":1},{"a":2}]}`,
		"same value":               `["a","a"]`,
		"characters":               `{"é":"ü","日":"本","` + "\U0001F600" + `":""}`,
		"escaped":                  `{"\u00e9":"\n\\\"\/\u0000"}`,
		"surrogate pair":           `["\ud83d\ude00","\uD83D\uDE00\ud83d\ude00"]`,
		"backslash before u":       `"\\ud800"`,
		"replacement character":    `"\ufffd` + "\ufffd" + `"`,
		"keys that differ":         `{"ss":1,"ß":2,"i":3,"İ":4,"ı":5,"a b":6,"a-b":7}`,
		"terms of JSON-LD":         `{"@context":["x",{"Quote":1,"quote":{"Id":1,"id":2}}],"a":1}`,
		"as deep as can be":        nested("[", "]", strictjson.MaxDepth),
		"objects as deep":          nested(`{"a":`, "}", strictjson.MaxDepth),
		"wide":                     "[" + strings.Repeat("[],", 1000) + "[]]",
		"byte order mark inside":   "\"\ufeff\"",
		"empty key":                `{"":1}`,
		"escape, then pair":        `"\\\ud83d\ude00"`,
		"line separators as such":  "\"\u2028\u2029\"",
		"delete and C1 characters": "\"\u007f\u0085\"",
	} {
		require.NoError(t, strictjson.Check([]byte(text), strictjson.MaxDepth), name)
		require.True(t, json.Valid([]byte(text)), name)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                     ``,
		"white space":                 ` `,
		"duplicate":                   `{"a":1,"a":1}`,
		"duplicate further on":        `{"a":1,"b":{},"c":[],"a":2}`,
		"duplicate inside":            `[{"x":{"a":1,"a":2}}]`,
		"duplicate by escape":         `{"a":1,"\u0061":2}`,
		"duplicate by case":           `{"actor":1,"Actor":2}`,
		"all capitals":                `{"actor":1,"ACTOR":2}`,
		"long s":                      `{"cc":1,"Cs":2,"c` + "\u017f" + `":3}`,
		"long s first":                `{"` + "\u017f" + `":1,"S":2}`,
		"Kelvin sign":                 `{"keyPackages":1,"` + "\u212a" + `eyPackages":2}`,
		"Kelvin sign escaped":         `{"k":1,"\u212a":2}`,
		"sigmas":                      `{"σ":1,"ς":2}`,
		"capital sigma":               `{"Σ":1,"ς":2}`,
		"micro and mu":                `{"` + "\u00b5" + `":1,"` + "\u03bc" + `":2}`,
		"capital accent":              `{"é":1,"É":2}`,
		"Ohm and omega":               `{"` + "\u2126" + `":1,"ω":2}`,
		"Angstrom":                    `{"` + "\u212b" + `":1,"å":2}`,
		"sharp s":                     `{"ß":1,"ẞ":2}`,
		"Deseret":                     `{"𐐀":1,"𐐨":2}`,
		"terms twice":                 `{"@context":{"quote":1,"quote":2}}`,
		"two contexts":                `{"@context":{},"@Context":{}}`,
		"beside the context":          `{"@context":{},"quote":1,"Quote":2}`,
		"below another context":       `{"@Context":{"quote":1,"Quote":2}}`,
		"too deep":                    nested("[", "]", strictjson.MaxDepth+1),
		"objects too deep":            nested(`{"a":`, "}", strictjson.MaxDepth+1),
		"far too deep":                strings.Repeat("[", 1<<20),
		"second value":                `{} {}`,
		"trailing word":               `{}x`,
		"trailing comma":              `{},`,
		"trailing bracket":            `{}}`,
		"trailing NUL":                "{}\x00",
		"byte order mark":             "\ufeff{}",
		"bad UTF-8":                   "{\"a\":\"\xff\"}",
		"bad UTF-8 in a key":          "{\"\xc3\":1}",
		"overlong UTF-8":              "\"\xc0\x80\"",
		"UTF-8 surrogate":             "\"\xed\xa0\x80\"",
		"UTF-8 cut short":             "\"\xe6\x97\"",
		"UTF-16":                      "\xff\xfe{\x00}\x00",
		"lone high surrogate":         `"\ud800"`,
		"lone low surrogate":          `"\udc00"`,
		"high and text":               `"\ud800x"`,
		"high and another escape":     `"\ud800\n"`,
		"high and high":               `"\ud800\ud800\udc00"`,
		"low and high":                `"\udc00\ud800"`,
		"lone surrogate after a pair": `"\ud83d\ude00\ude00"`,
		"lone surrogate in a key":     `{"\ud800":1}`,
		"lone after a backslash":      `"\\\ud800"`,
		"cut after a surrogate":       `"\ud800`,
		"cut in a surrogate":          `"\ud83d\ude`,
		"cut after a backslash":       `"\`,
		"bad escape":                  `"\x41"`,
		"bad hex":                     `"\u00zz"`,
		"control character":           "\"a\nb\"",
		"single quotes":               `{'a':1}`,
		"bare key":                    `{a:1}`,
		"number for a key":            `{1:1}`,
		"no value":                    `{"a":}`,
		"no colon":                    `{"a" 1}`,
		"comma at the end of array":   `[1,]`,
		"comma at the end of object":  `{"a":1,}`,
		"comma at the start":          `[,1]`,
		"no comma":                    `[1 2]`,
		"mismatched":                  `[}`,
		"mismatched object":           `{"a":1]`,
		"cut short":                   `{"a":[1,2`,
		"leading zero":                `01`,
		"plus":                        `+1`,
		"hex":                         `0x10`,
		"NaN":                         `NaN`,
		"Infinity":                    `-Infinity`,
		"comment":                     `{}//`,
		"capital literal":             `True`,
	} {
		err := strictjson.Check([]byte(text), strictjson.MaxDepth)
		var syntax *strictjson.SyntaxError
		require.True(t, errors.As(err, &syntax), "%s: %v", name, err)
		require.NotEmpty(t, syntax.Reason, name)
		require.GreaterOrEqual(t, syntax.Offset, int64(0), name)
		require.LessOrEqual(t, syntax.Offset, int64(len(text)), name)
		var v any
		require.Error(t, strictjson.Unmarshal([]byte(text), &v), name)
		require.Nil(t, v, "%s: a part was kept", name)
	}
}

func TestOffsetLeadsToTheMistake(t *testing.T) {
	for text, want := range map[string]int64{
		"{\"a\":\"\xff\"}":       6,
		`{"abc":"\ud800"}`:       8,
		`{"a":1,"A":2}`:          10,
		`{"a":1} {"b":1}`:        9,
		strings.Repeat("[", 100): strictjson.MaxDepth + 1,
	} {
		var syntax *strictjson.SyntaxError
		require.ErrorAs(t, strictjson.Check([]byte(text), strictjson.MaxDepth), &syntax)
		require.Equal(t, want, syntax.Offset, text)
	}
}

// TestManyKeys: of any number of them two that are the same are found.
func TestManyKeys(t *testing.T) {
	for _, n := range []int{1, 2, 15, 16, 17, 18, 1000} {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"key%d":0,`, i)
		}
		require.NoError(t, strictjson.Check([]byte("{"+b.String()+`"last":0}`), 1))
		for _, again := range []int{0, n / 2, n - 1} {
			require.ErrorContains(t, strictjson.Check(fmt.Appendf(nil, `{%s"KEY%d":0}`, b.String(), again), 1), "duplicate key", "%d of %d", again, n)
		}
	}
}

func TestDepthIsTheCallers(t *testing.T) {
	require.NoError(t, strictjson.Check([]byte(`1`), 0))
	require.Error(t, strictjson.Check([]byte(`[]`), 0))
	require.NoError(t, strictjson.Check([]byte(`[{}]`), 2))
	require.Error(t, strictjson.Check([]byte(`[{}]`), 1))
}

func TestUnmarshal(t *testing.T) {
	var v struct {
		Actor string `json:"actor"`
		Seq   uint64 `json:"seq"`
	}
	require.NoError(t, strictjson.Unmarshal([]byte(`{"actor":"a","seq":18446744073709551615,"more":[1]}`), &v))
	require.Equal(t, "a", v.Actor)
	require.Equal(t, uint64(1<<64-1), v.Seq)
	for _, text := range []string{`{"actor":1}`, `{"seq":-1}`, `{"seq":18446744073709551616}`, `{"seq":1.5}`, `[]`, `"x"`} {
		var syntax *strictjson.SyntaxError
		require.ErrorAs(t, strictjson.Unmarshal([]byte(text), &v), &syntax, text)
		require.NotContains(t, syntax.Error(), "actor", "names of members are the sender's words")
	}
}

// BenchmarkCheck beside what encoding/json needs to find out whether it is JSON at all.
func BenchmarkCheck(b *testing.B) {
	activity := []byte(`{"@context":["https://www.w3.org/ns/activitystreams",{"mls":"https://purl.archive.org/socialweb/mls#"}],"id":"https://a.example/activities/1","type":"Create",` +
		`"actor":"https://a.example/users/alice","to":["https://b.example/users/bob"],"object":{"id":"https://a.example/objects/1","type":["Object","PrivateMessage"],` +
		`"attributedTo":"https://a.example/users/alice","mediaType":"message/mls","encoding":"base64","content":"` + strings.Repeat("AAAA", 256) + `"}}`)
	for name, check := range map[string]func() bool{
		"strict": func() bool { return strictjson.Check(activity, strictjson.MaxDepth) == nil },
		"valid":  func() bool { return json.Valid(activity) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(activity)))
			for b.Loop() {
				if !check() {
					b.Fatal("it is JSON")
				}
			}
		})
	}
}
