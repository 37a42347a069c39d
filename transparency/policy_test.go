package transparency_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/transparency"
)

// examplePolicy is the example of C2SP tlog-policy, with keys.
const examplePolicy = `
log {LOG}

witness X1 {0}
witness X2 {1}
witness X3 {2}
group X-witnesses 2 X1 X2 X3

witness Y1 {3}
witness Y2 {4}
witness Y3 {5}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
`

func TestC2SPPolicyExample(t *testing.T) {
	l := newPlainLog(t, origin).grow(5)
	var cs []*transparency.Cosigner
	for i, name := range []string{"x.example/1", "x.example/2", "x.example/3", "y.example/1", "y.example/2", "y.example/3"} {
		cs = append(cs, ed(t, name, byte(i+1)))
	}
	p := policy(t, strings.ReplaceAll(examplePolicy, "{LOG}", l.key), cs...)
	require.Len(t, p.Logs, 1)
	require.Len(t, p.Witnesses, 6)
	for set := range 64 {
		var by []note.Signer
		x, y := 0, 0
		for i, c := range cs {
			if set>>i&1 == 1 {
				by = append(by, c.At(noon+int64(i)))
				if i < 3 {
					x++
				} else {
					y++
				}
			}
		}
		v, err := p.Evaluate(l.cosigned(t, 5, by...), nil)
		require.NoError(t, err)
		require.Equal(t, x >= 2 && y >= 1, v.Met, "%06b", set)
		require.Len(t, v.Cosigned, x+y)
		require.Len(t, v.Missing, 6-x-y)
	}
}

func TestW13Evaluate(t *testing.T) {
	l := newPlainLog(t, origin).grow(5)
	a, b, c := ed(t, "w.example/a", 1), pq(t, "x.example/auditor", 2), ed(t, "y.example/c", 3)
	two := policy(t, "witness a {0} https://w.example/\nwitness b {1}\nwitness c {2}\ngroup g 2 a b c\nquorum g\n", a, b, c)
	log := verifier(t, l.key)

	v, err := two.Evaluate(l.cosigned(t, 5, a.At(noon), b.At(noon-60), c.At(noon+90)), log)
	require.NoError(t, err)
	require.Equal(t, transparency.Verdict{
		Checkpoint: transparency.Checkpoint{Origin: origin, Size: 5, Root: treeHash(l.leaves(5))}, Met: true, AsOf: noon, Newest: noon + 90,
		Cosigned: []transparency.Cosignature{{"a", "w.example", noon, true, false}, {"b", "x.example", noon - 60, true, true}, {"c", "y.example", noon + 90, true, false}},
	}, v, "two of three signed at noon or later")

	v, err = two.Evaluate(l.cosigned(t, 5, a.At(noon), b.At(noon-60), c.At(noon+90)), log, "y.example/waxwing/log")
	require.NoError(t, err)
	require.True(t, v.Met)
	require.Equal(t, []int64{noon - 60, noon}, []int64{v.AsOf, v.Newest}, "y.example does not count, for the time neither")
	require.False(t, v.Cosigned[2].Counts)

	v, err = two.Evaluate(l.cosigned(t, 5, a.At(noon), c.At(noon)), log, "W.example:8443", origin)
	require.NoError(t, err)
	require.False(t, v.Met)
	require.Equal(t, []string{"b"}, v.Missing)
	require.Zero(t, v.AsOf)

	v, err = two.Evaluate(l.cosigned(t, 5, a.At(noon), b.At(0)), log)
	require.NoError(t, err)
	require.True(t, v.Met, "a cosignature without a time still says the tree is consistent")
	require.Zero(t, v.AsOf, "but nothing of when")

	none := policy(t, "quorum none\n")
	v, err = none.Evaluate(l.cosigned(t, 5, a.At(noon)), log)
	require.NoError(t, err)
	require.True(t, v.Met)
	require.Empty(t, v.Cosigned)
	require.Zero(t, v.AsOf)

	_, err = none.Evaluate(l.checkpoint(t, 5), nil)
	requireCheck(t, "A1", err, "no log is known")
	_, err = two.Evaluate(newPlainLog(t, origin).grow(5).cosigned(t, 5, a.At(noon), b.At(noon), c.At(noon)), log)
	requireCheck(t, "A1", err, "cosigned by all, but not by the log")
	_, err = two.Evaluate(l.cosigned(t, 5, a.At(noon), b.At(noon), forged{c.At(noon)}), log)
	requireCheck(t, "A1", err, "a known witness's signature does not verify")
	other := newPlainLog(t, "b.example/waxwing/log").grow(5)
	_, err = policy(t, fmt.Sprintf("log %s\nlog %s\nquorum none\n", l.key, other.key)).Evaluate(other.checkpoint(t, 5), nil)
	require.NoError(t, err)
}

// TestW14AsOf compares with the words: k of n signed then or later.
func TestW14AsOf(t *testing.T) {
	const n = 6
	l := newPlainLog(t, origin).grow(1)
	var cs []*transparency.Cosigner
	for i := range n {
		cs = append(cs, ed(t, fmt.Sprintf("w%d.example", i), byte(i+1)))
	}
	lines := "witness 0 {0}\nwitness 1 {1}\nwitness 2 {2}\nwitness 3 {3}\nwitness 4 {4}\nwitness 5 {5}\n"
	rapid.Check(t, func(rt *rapid.T) {
		k := []int{rapid.IntRange(1, 3).Draw(rt, "k of 0 1 2"), rapid.IntRange(1, 2).Draw(rt, "k of 3 4"), rapid.IntRange(1, 3).Draw(rt, "k of the groups and 5")}
		p := policy(t, lines+fmt.Sprintf("group a %d 0 1 2\ngroup b %d 3 4\ngroup q %d a b 5\nquorum q\n", k[0], k[1], k[2]), cs...)
		var by []note.Signer
		times := make([]int64, n)
		for i := range times {
			if times[i] = rapid.Int64Range(0, 5).Draw(rt, "time"); times[i] > 0 {
				by = append(by, cs[i].At(times[i]))
			}
		}
		count := func(since int64, which ...int) (m int) {
			for _, i := range which {
				if times[i] >= since {
					m++
				}
			}
			return m
		}
		met := func(since int64) bool {
			m := count(since, 5)
			if count(since, 0, 1, 2) >= k[0] {
				m++
			}
			if count(since, 3, 4) >= k[1] {
				m++
			}
			return m >= k[2]
		}
		v, err := p.Evaluate(l.cosigned(t, 1, by...), verifier(t, l.key))
		require.NoError(rt, err)
		require.Equal(rt, met(1), v.Met)
		require.Equal(rt, slices.Max(times), v.Newest)
		for at := int64(1); at <= 6; at++ {
			require.Equal(rt, met(at), v.Met && v.AsOf >= at, "as of %d", at)
		}
	})
}

func TestW12PolicyRefused(t *testing.T) {
	a, b := ed(t, "w.example/a", 1), ed(t, "x.example/b", 2)
	l := newPlainLog(t, origin)
	sameKey, pqLog := ed(t, "z.example/another-name", 1), pq(t, "y.example/log", 4)
	pqTwin := pq(t, "y.example/other", 4)
	two := "witness a {0}\nwitness b {1}\n"
	for name, c := range map[string]struct {
		line int
		text string
	}{
		"nothing": {0, ""}, "no quorum": {2, two}, "only a comment": {1, "# quorum none\n"}, "no newline at the end": {3, two + "quorum a"},
		"two quorums": {4, two + "quorum a\nquorum a\n"}, "quorum of nobody": {3, two + "quorum c\n"}, "quorum without a name": {1, "quorum\n"},
		"quorum of two": {3, two + "quorum a b\n"}, "quorum before": {1, "quorum a\n" + two}, "unknown word": {2, "quorum none\nwitnesses a\n"},
		"word in capitals": {1, "QUORUM none\n"}, "group before its member": {1, "group g any a\n" + two + "quorum g\n"},
		"group of itself": {1, "group g any g\nquorum g\n"}, "group of none": {2, "witness a {0}\ngroup g any a none\nquorum g\n"},
		"group without members": {1, "group g any\nquorum g\n"}, "group without a number": {3, two + "group g a b\nquorum g\n"},
		"0 of 2": {3, two + "group g 0 a b\nquorum g\n"}, "3 of 2": {3, two + "group g 3 a b\nquorum g\n"}, "-1 of 2": {3, two + "group g -1 a b\nquorum g\n"},
		"01 of 2": {3, two + "group g 01 a b\nquorum g\n"}, "+1 of 2": {3, two + "group g +1 a b\nquorum g\n"}, "far too many of 2": {3, two + "group g 99999999999999999999 a b\nquorum g\n"},
		"a member twice": {3, two + "group g 2 a a\nquorum g\n"}, "a member of two groups": {4, two + "group g any a b\ngroup h any a\nquorum g\n"},
		"a name twice": {2, "witness a {0}\nwitness a {1}\nquorum a\n"}, "a group by a witness's name": {3, two + "group a any b\nquorum a\n"},
		"a witness called none": {1, "witness none {0}\nquorum none\n"}, "a group called none": {3, two + "group none any a\nquorum none\n"},
		"a key twice": {2, "witness a {0}\nwitness b {0}\nquorum a\n"}, "a key under two names": {2, "witness a {0}\nwitness b {2}\nquorum a\n"},
		"a log twice": {2, "log {LOG}\nlog {LOG}\nquorum none\n"}, "a log's key as a witness": {2, "log {3}\nwitness a {4}\nquorum a\n"},
		"a log's key, ML-DSA, as a witness": {2, "log {3}\nwitness a {3}\nquorum a\n"}, "a cosigner's key as a log": {1, "log {0}\nquorum none\n"},
		"a log's key type as a witness": {1, "witness a {LOG}\nquorum a\n"}, "a key that is none": {1, "witness a x+y+z\nquorum a\n"},
		"a witness without a key": {1, "witness a\nquorum a\n"}, "a word too many": {1, "witness a {0} https://w.example/ more\nquorum a\n"},
		"a comment after": {1, "witness a {0} https://w.example/ #\nquorum a\n"}, "a log line too long": {1, "log {LOG} u v\nquorum none\n"}, "a log without a key": {1, "log\nquorum none\n"},
		"carriage return": {1, "quorum none\r\n"}, "zero byte": {2, "quorum none\n#\x00\n"}, "delete": {2, "quorum none\n#\x7f\n"}, "vertical tab": {1, "quorum\vnone\n"},
		"a Unicode space is no space": {1, "quorum\u00a0none\n"}, "names are bytes": {2, "witness K {0}\nquorum \u212a\n"},
		"a long name": {1, "witness " + strings.Repeat("n", 256) + " {0}\nquorum none\n"}, "a long URL": {1, "witness a {0} " + strings.Repeat("u", 2049) + "\nquorum a\n"},
		"a log with a long URL": {1, "log {LOG} " + strings.Repeat("u", 2049) + "\nquorum none\n"},
		"too many groups": {66, "witness a {0}\ngroup 0 any a\n" + func() (s string) {
			for i := range 64 {
				s += fmt.Sprintf("group %d any %d\n", i+1, i)
			}
			return s
		}() + "quorum 64\n"},
		"far too long": {0, "quorum none\n" + strings.Repeat("# comment\n", 60000)},
	} {
		text := strings.ReplaceAll(fill(c.text, a, b, sameKey, pqLog, pqTwin), "{LOG}", l.key)
		p, err := transparency.ParsePolicy([]byte(text))
		require.Error(t, err, name)
		require.Nil(t, p, name)
		if c.line > 0 {
			require.Contains(t, err.Error(), fmt.Sprintf("line %d:", c.line), name)
		}
	}
}

func TestPolicyLimits(t *testing.T) {
	text, members := "", ""
	for i := range 64 {
		text += fmt.Sprintf("log %s\nwitness w%d %s https://w.example/\ngroup g%d any w%d\n", pq(t, fmt.Sprint("log", i), byte(100+i)).Key(), i,
			pq(t, fmt.Sprint("w", i), byte(i)).Key(), i, i)
	}
	_, err := transparency.ParsePolicy([]byte(text + "quorum g63\n"))
	require.NoError(t, err, "64 of each")
	for i := range 65 {
		members += fmt.Sprintf("witness w%d %s\n", i, ed(t, fmt.Sprint("w", i), byte(i)).Key())
	}
	_, err = transparency.ParsePolicy([]byte(members + "quorum w0\n"))
	require.ErrorContains(t, err, "line 65:")
	_, err = transparency.ParsePolicy([]byte(" \t# spaces\n\n\twitness  \xff\u00e9\t" + ed(t, "w.example", 1).Key().String() + " \xf0 \n quorum\t\xff\u00e9 \n# end\n"))
	require.NoError(t, err, "tabs, spaces, and bytes that are no text")
}

func TestDomain(t *testing.T) {
	for name, domain := range map[string]string{
		"a.example/waxwing/log": "a.example", "A.Example:8443/x": "a.example", "a.example.": "a.example", "a.example": "a.example",
		"[::1]:80/x": "[::1]", "[::1]/x": "[::1]", "oid/1.2": "oid", "": "",
	} {
		require.Equal(t, domain, transparency.Domain(name), name)
	}
	l := newPlainLog(t, origin).grow(1)
	for name, counts := range map[string]bool{
		"a.example": false, "w.a.example/x": false, "A.EXAMPLE:99": false, "example": false, "b.example": true, "aa.example": true, "a.example.org": true,
	} {
		w := ed(t, name, 1)
		v, err := policy(t, "witness w {0}\nquorum w\n", w).Evaluate(l.cosigned(t, 1, w.At(noon)), verifier(t, l.key), origin)
		require.NoError(t, err)
		require.Equal(t, counts, v.Met, name)
	}
}
