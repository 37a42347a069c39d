package transparency_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

// exampleProof is the beginning of the example of C2SP tlog-proof, whose signatures the document leaves out.
const exampleProof = `c2sp.org/tlog-proof@v1
extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ
index 73894
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=
RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=
AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=

example.com/fancylog
109482
sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

`

func TestC2SPProofExample(t *testing.T) {
	p, err := transparency.ParseProof([]byte(exampleProof))
	require.NoError(t, err)
	require.Equal(t, int64(73894), p.Index)
	require.Equal(t, "age-v1.2.1-darwin-arm64.tar.gz", string(p.Extra[:30]))
	require.Len(t, p.Inclusion, 5)
	require.Equal(t, "AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=", p.Inclusion[4].String())
	require.True(t, strings.HasPrefix(string(p.Checkpoint), "example.com/fancylog\n109482\n"))
	require.Equal(t, exampleProof, string(p.Marshal()))
}

func TestW15Proof(t *testing.T) {
	l := newPlainLog(t, origin).grow(70)
	a, b := ed(t, "w.example/a", 1), pq(t, "x.example/b", 2)
	pol := policy(t, "witness a {0}\nwitness b {1}\ngroup g all a b\nquorum g\n", a, b)
	log := verifier(t, l.key)
	both := []note.Signer{a.At(noon), b.At(noon)}
	for size := int64(1); size <= 70; size += 23 {
		for index := range size {
			p := transparency.Proof{Index: index, Inclusion: inclusion(index, l.leaves(size)), Checkpoint: l.cosigned(t, size, both...)}
			again, err := transparency.ParseProof(p.Marshal())
			require.NoError(t, err)
			leaf := transparency.LeafHash(l.entries[index])
			v, err := again.Verify(leaf, pol, log)
			require.NoError(t, err)
			require.Equal(t, size, v.Checkpoint.Size)
			_, err = again.Verify(transparency.LeafHash([]byte("another")), pol, log)
			requireCheck(t, "W15", err)
		}
	}
	good := transparency.Proof{Index: 3, Inclusion: inclusion(3, l.leaves(9)), Checkpoint: l.cosigned(t, 9, both...)}
	leaf := transparency.LeafHash(l.entries[3])
	for name, c := range map[string]struct {
		check  string
		change func(p *transparency.Proof)
	}{
		"good":                         {"", func(*transparency.Proof) {}},
		"another index":                {"W15", func(p *transparency.Proof) { p.Index = 4 }},
		"an index beyond the tree":     {"W15", func(p *transparency.Proof) { p.Index = 9 }},
		"a negative index":             {"W15", func(p *transparency.Proof) { p.Index = -1 }},
		"a hash less":                  {"W15", func(p *transparency.Proof) { p.Inclusion = p.Inclusion[:3] }},
		"a hash more":                  {"W15", func(p *transparency.Proof) { p.Inclusion = append(slices.Clone(p.Inclusion), tlog.Hash{}) }},
		"a checkpoint of another size": {"W15", func(p *transparency.Proof) { p.Checkpoint = l.cosigned(t, 10, both...) }},
		"one witness":                  {"W13", func(p *transparency.Proof) { p.Checkpoint = l.cosigned(t, 9, a.At(noon)) }},
		"no witness":                   {"W13", func(p *transparency.Proof) { p.Checkpoint = l.checkpoint(t, 9) }},
		"another log":                  {"A1", func(p *transparency.Proof) { p.Checkpoint = newPlainLog(t, origin).grow(9).cosigned(t, 9, both...) }},
		"no log":                       {"A1", func(p *transparency.Proof) { p.Checkpoint = []byte("x\n\n") }},
	} {
		p := good
		c.change(&p)
		_, err := p.Verify(leaf, pol, log)
		if c.check == "" {
			require.NoError(t, err, name)
			continue
		}
		requireCheck(t, c.check, err, name)
	}
	_, err := good.Verify(leaf, pol, log, "w.example")
	requireCheck(t, "W13", err, "a witness of an excepted domain")
}

func TestParseProofRefuses(t *testing.T) {
	l := newPlainLog(t, origin).grow(9)
	good := transparency.Proof{Index: 3, Extra: []byte("xyz"), Inclusion: inclusion(3, l.leaves(9)), Checkpoint: l.checkpoint(t, 9)}.Marshal()
	_, err := transparency.ParseProof(good)
	require.NoError(t, err)
	swap := func(old, new string) []byte {
		require.Contains(t, string(good), old)
		return bytes.Replace(good, []byte(old), []byte(new), 1)
	}
	hash := inclusion(3, l.leaves(9))[0].String()
	for name, text := range map[string][]byte{
		"nothing": nil, "only a header": []byte("c2sp.org/tlog-proof@v1\n"), "no checkpoint": good[:bytes.Index(good, []byte("\n\n"))+2],
		"no empty line": swap("\n\n", "\n"), "version 2": swap("@v1", "@v2"), "no header": good[23:], "a space after the header": swap("@v1\n", "@v1 \n"),
		"carriage returns": bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), "no index": swap("index 3\n", ""), "index missing": swap("index 3", "index "),
		"index negative": swap("index 3", "index -3"), "index with a plus": swap("index 3", "index +3"), "index with a zero in front": swap("index 3", "index 03"),
		"index beyond 63 bits": swap("index 3", "index 9223372036854775808"), "index twice": swap("index 3\n", "index 3\nindex 3\n"),
		"extra empty": swap("extra eHl6", "extra "), "extra not base64": swap("extra eHl6", "extra e!!6"), "extra twice": swap("extra eHl6\n", "extra eHl6\nextra eHl6\n"),
		"extra after the index": swap("extra eHl6\nindex 3\n", "index 3\nextra eHl6\n"), "extra misspelt": swap("eHl6", "eHl6eA=\t"), "extra in two spellings": swap("eHl6", "eHl6eB=="),
		"hash short": swap(hash, "AAAA"), "hash misspelt": swap(hash, hash[:42]+"/="), "hash not base64": swap(hash, "*"+hash[1:]),
		"too many hashes": swap(hash+"\n", strings.Repeat(hash+"\n", 65)), "too long": append(bytes.Clone(good), make([]byte, transparency.MaxProof)...),
		"a checkpoint too long": append(bytes.Clone(good), make([]byte, transparency.MaxNote)...),
		"something before":      append([]byte("\n"), good...),
	} {
		p, err := transparency.ParseProof(text)
		require.Error(t, err, name)
		require.Zero(t, p, name)
	}
}
