package transparency_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/transparency"
)

const hour = int64(3600)

// witnessed is an answer about alice whose checkpoint has these cosignatures, too.
func (l *signedLog) witnessed(t testing.TB, size, from int, by ...note.Signer) transparency.Answer {
	t.Helper()
	a := l.answer(t, alice, size, from)
	text, _, _ := strings.Cut(string(a.Checkpoint), "\n\n")
	a.Checkpoint = signText(t, text+"\n", append([]note.Signer{l.signer}, by...)...)
	return a
}

// twoOf is a policy of three witnesses, two of which must sign.
func twoOf(t testing.TB, names ...string) ([]*transparency.Cosigner, *transparency.Policy) {
	t.Helper()
	var all []*transparency.Cosigner
	for i, name := range names {
		all = append(all, ed(t, name, byte(i+1)))
	}
	return all, policy(t, "witness w0 {0}\nwitness w1 {1}\nwitness w2 {2}\ngroup g 2 w0 w1 w2\nquorum g\n", all...)
}

// believed holds that an answer is good enough, and returns what is remembered and found.
func believed(t testing.TB, known transparency.Log, a transparency.Answer, terms transparency.Terms, about ...any) (transparency.Log, transparency.Finding) {
	t.Helper()
	next, f, err := known.Check(alice, a, terms)
	require.NoError(t, err, about...)
	return next, f
}

// refusedUnder holds that a check fails and that nothing is kept.
func refusedUnder(t testing.TB, check string, known transparency.Log, a transparency.Answer, terms transparency.Terms, about ...any) error {
	t.Helper()
	next, f, err := known.Check(alice, a, terms)
	requireCheck(t, check, err, about...)
	require.Equal(t, known, next, about...)
	require.Zero(t, f, about...)
	advanced, v, advanceErr := known.Advance(a.Checkpoint, a.Consistency, terms)
	require.Equal(t, err.Error(), advanceErr.Error(), "Advance says the same")
	require.Equal(t, known, advanced)
	require.Zero(t, v)
	return err
}

func TestW13ofAnAnswer(t *testing.T) {
	l := newLog(t).grow(3)
	w, p := twoOf(t, "w.example/witness", "x.example/auditor", "y.example/witness")
	terms := transparency.Terms{Policy: p, Now: noon}

	next, f := believed(t, l.pinned(), l.witnessed(t, 3, 0, w[0].At(noon), w[1].At(noon-60)), terms)
	require.Equal(t, noon-60, f.Witnessed.AsOf)
	require.Equal(t, next.Root, f.Witnessed.Checkpoint.Root)
	require.Equal(t, []transparency.Cosignature{{"w0", "w.example", noon, true, false}, {"w1", "x.example", noon - 60, true, true}}, f.Witnessed.Cosigned)
	require.Equal(t, []string{"w2"}, f.Witnessed.Missing)

	err := refusedUnder(t, "W13", l.pinned(), l.witnessed(t, 3, 0, w[2].At(noon)), terms, "one of two")
	require.Contains(t, err.Error(), "1 cosigned, without w0, w1")
	refusedUnder(t, "W13", l.pinned(), l.witnessed(t, 3, 0), terms, "none of two")
	refusedUnder(t, "W13", l.at(2), l.witnessed(t, 3, 2, w[2].At(noon)), terms, "from a size that is known")
	stranger := ed(t, "w.example/witness", 9)
	refusedUnder(t, "W13", l.pinned(), l.witnessed(t, 3, 0, w[0].At(noon), stranger.At(noon)), terms, "a witness's name and another's key")
	refusedUnder(t, "A1", l.pinned(), l.witnessed(t, 3, 0, w[0].At(noon), w[1].At(noon), forged{w[2].At(noon)}), terms, "a bad signature spoils it")

	// What is said first of a bad answer is what is wrong with the log.
	a := l.witnessed(t, 3, 0)
	a.Map = nil
	_, _, err = l.pinned().Check(alice, a, terms)
	requireCheck(t, "A6", err)
}

func TestW13LeavesOut(t *testing.T) {
	for name, c := range map[string]struct {
		witnesses []string
		own       string
	}{
		"the log's own witness":            {[]string{"w.example/w", host + "/waxwing/witness", "y.example/w"}, ""},
		"one within the log's domain":      {[]string{"w.example/w", "w." + host + "/w", "y.example/w"}, ""},
		"one of the reader's own instance": {[]string{"w.example/w", "mine.example/waxwing/witness", "y.example/w"}, "mine.example"},
		"one within the reader's domain":   {[]string{"w.example/w", "w.mine.example/w", "y.example/w"}, "Mine.example:8443/waxwing/log/x"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t).grow(2)
			w, p := twoOf(t, c.witnesses...)
			terms := transparency.Terms{Policy: p, Own: c.own, Now: noon}
			err := refusedUnder(t, "W13", l.pinned(), l.witnessed(t, 2, 0, w[0].At(noon), w[1].At(noon)), terms)
			require.Contains(t, err.Error(), "1 cosigned, without w2, not counting w1")
			_, f := believed(t, l.pinned(), l.witnessed(t, 2, 0, w[0].At(noon), w[1].At(noon), w[2].At(noon)), terms)
			require.False(t, f.Witnessed.Cosigned[1].Counts)
		})
	}
}

// TestW14ofAnAnswer: what counts is the time of the quorum, whatever one witness says.
func TestW14ofAnAnswer(t *testing.T) {
	l := newLog(t).grow(3)
	w, p := twoOf(t, "w.example/w", "x.example/w", "y.example/w")
	terms := transparency.Terms{Policy: p, Now: noon}
	for name, c := range map[string]struct {
		check string
		times [2]int64
	}{
		"just now":                        {"", [2]int64{noon, noon}},
		"six hours ago":                   {"", [2]int64{noon - 6*hour, noon}},
		"more than six hours ago":         {"", [2]int64{noon - 6*hour - 1, noon}},
		"a day ago":                       {"", [2]int64{noon - 24*hour, noon}},
		"more than a day ago":             {"W14", [2]int64{noon - 24*hour - 1, noon}},
		"one has no clock":                {"W14", [2]int64{0, noon}},
		"ten minutes ahead":               {"", [2]int64{noon + 600, noon + 600}},
		"more than that":                  {"W14", [2]int64{noon + 601, noon + 601}},
		"one of them at the end of times": {"", [2]int64{noon, 1<<63 - 1}},
		"both at the end of times":        {"W14", [2]int64{1<<63 - 1, 1<<63 - 1}},
	} {
		a := l.witnessed(t, 3, 0, w[0].At(c.times[0]), w[1].At(c.times[1]))
		if c.check != "" {
			refusedUnder(t, c.check, l.pinned(), a, terms, name)
			continue
		}
		_, f := believed(t, l.pinned(), a, terms, name)
		require.Equal(t, c.times[0], f.Witnessed.AsOf, name)
	}
}

func TestNoWitnessIsAskedFor(t *testing.T) {
	l := newLog(t).grow(3)
	for name, terms := range map[string]transparency.Terms{
		"no policy": {Now: noon}, "a policy that wants none": {Policy: policy(t, "quorum none\n"), Now: noon},
	} {
		_, f := believed(t, l.pinned(), l.answer(t, alice, 3, 0), terms, name)
		require.Equal(t, int64(3), f.Witnessed.Checkpoint.Size, name)
		require.Zero(t, f.Witnessed.AsOf, name)
	}
}

// TestOfOneTreeTheFresherNoteCounts: a log without news has its checkpoint cosigned again.
func TestOfOneTreeTheFresherNoteCounts(t *testing.T) {
	l := newLog(t).grow(3)
	w, p := twoOf(t, "w.example/w", "x.example/w", "y.example/w")
	at := func(seconds int64) transparency.Answer {
		return l.witnessed(t, 3, 3, w[0].At(seconds), w[1].At(seconds))
	}
	terms := transparency.Terms{Policy: p, Now: noon}
	old, fresh := at(noon-20*hour), at(noon-hour)
	known, f := believed(t, l.pinned(), old, terms)
	require.Equal(t, old.Checkpoint, known.Note)

	known, f = believed(t, known, fresh, terms)
	require.Equal(t, fresh.Checkpoint, known.Note)
	require.Equal(t, noon-hour, f.Witnessed.AsOf)

	for name, a := range map[string]transparency.Answer{
		"the old one again": old, "an older one": at(noon - 30*hour), "one that nobody cosigned": l.answer(t, alice, 3, 3),
		"one ahead of the quorum": l.witnessed(t, 3, 3, w[0].At(noon)),
	} {
		again, f := believed(t, known, a, terms, name)
		require.Equal(t, known, again, name)
		require.Equal(t, noon-hour, f.Witnessed.AsOf, name)
	}

	terms.Now += 24 * hour
	refusedUnder(t, "W14", known, old, terms, "both too old")
	terms.Now = noon
	grown := l.grow(4).witnessed(t, 4, 3)
	refusedUnder(t, "W13", known, grown, terms, "what was vouched for of a smaller tree says nothing of a larger one")
	spoilt := known
	spoilt.Note = []byte("not a note")
	refusedUnder(t, "W14", spoilt, at(noon-30*hour), terms, "a stored note that cannot be read helps nobody")
}
