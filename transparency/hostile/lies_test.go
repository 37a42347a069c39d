package hostile_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
)

// histories is how many random ones each lie is told in.
func histories(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv("WAXWING_HISTORIES")); err == nil {
		return n
	}
	if testing.Short() || raceDetector {
		return 30
	}
	return 1000
}

// A lie is told once in one history. It returns by whom it was caught, and at what; a reader that believes it fails the test.
type lie func(t *testing.T, w *world) (caught string)

// A world is one history with everybody in it, at a random moment.
type world struct {
	*rand.Rand
	now    int64
	truth  *story
	crowd  *crowd
	victim string  // the actor whose keys the lie is about
	old    *reader // has seen the truth up to a moment of its own
	fresh  *reader // has pinned the log and seen nothing of it
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 7)), now: start}
	w.truth = newStory(honest, &w.now)
	w.crowd = newCrowd(&w.now, honest)
	w.victim = actors[w.IntN(len(actors))]
	w.old = newReader(honest.pin(t), w.crowd.policy, &w.now)
	w.fresh = newReader(honest.pin(t), w.crowd.policy, &w.now)
	w.truth.liveWith(w.Rand, w.victim, w.IntN(8))
	w.old.know(t, w.truth, w.crowd, w.victim)
	return w
}

// after lets time pass honestly; everybody who watches sees it.
func (w *world) after(t *testing.T, steps int) {
	w.truth.live(w.Rand, steps)
	_, err := w.crowd.cosign(w.truth)
	require.NoError(t, err)
}

// refused says at which check a reader stopped; that it did not is what all this is about.
func refused(t *testing.T, r *reader, actor string, a transparency.Answer) string {
	t.Helper()
	_, err := r.learn(actor, a)
	require.Error(t, err, "a lie was believed")
	var check *transparency.CheckError
	require.ErrorAs(t, err, &check)
	return "reader " + check.Check
}

// unwitnessed shows a story to the crowd, which must not come to a quorum about it, and then to both readers.
func (w *world) unwitnessed(t *testing.T, s *story, from int64) string {
	t.Helper()
	signed, err := w.crowd.cosign(s)
	require.ErrorIs(t, err, errNoQuorum)
	// The lie is a good one: who asks for no witnesses believes it.
	_, err = newReader(s.pin(t), nil, &w.now).learn(w.victim, s.answer(signed, w.victim, 0))
	require.NoError(t, err)
	var by []string
	for _, r := range []*reader{w.fresh, w.old} {
		since := from
		if r == w.fresh {
			since = 0
		}
		by = append(by, refused(t, r, w.victim, s.answer(signed, w.victim, since)))
	}
	return strings.Join(by, ", ")
}

// TestNineLies tells each lie in a thousand histories.
func TestNineLies(t *testing.T) {
	for name, tell := range map[string]lie{
		"1 split view":                 splitView,
		"2 stale answer":               staleAnswer,
		"3 omitted update":             omittedUpdate,
		"4 invented absence":           inventedAbsence,
		"5 entry swapped and reverted": swapAndRevert,
		"6 map root not matching":      wrongRoot,
		"7 wrong VRF":                  wrongVRF,
		"8 rollback after restore":     rollback,
		"9 decoy log":                  decoyLog,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caught := map[string]int{}
			for i := range histories(t) {
				caught[tell(t, newWorld(t, uint64(i)))]++
				if t.Failed() {
					t.Fatalf("in history %d", i)
				}
			}
			t.Log(tally(caught))
		})
	}
}

func tally(caught map[string]int) string {
	var lines []string
	for by, n := range caught {
		lines = append(lines, fmt.Sprintf("%5d  %s", n, by))
	}
	sort.Sort(sort.Reverse(sort.StringSlice(lines)))
	return "caught by\n" + strings.Join(lines, "\n")
}

// TestTheTruthIsBelieved is the control: nobody cries wolf.
func TestTheTruthIsBelieved(t *testing.T) {
	for i := range histories(t) / 10 {
		w := newWorld(t, uint64(i))
		o := newOwner(w.truth, w.victim)
		x := w.truth.compose(w.victim, transparency.KindUpdate)
		o.said[x.Statement] = true
		w.truth.say(w.victim, x)
		w.after(t, 0)
		require.Zero(t, o.scan(w.truth))
		w.truth.pad()
		for _, r := range []*reader{w.old, w.fresh} {
			r.know(t, w.truth, w.crowd, actors...)
			require.Equal(t, x.Statement, r.records[w.victim].Statement)
		}
		require.False(t, w.old.records[w.victim].Reset)
		require.NoError(t, w.crowd.auditor.found)
		// Witnessed again without news, a day later.
		w.now += 86400
		for _, r := range []*reader{w.old, w.fresh} {
			r.know(t, w.truth, w.crowd, w.victim)
		}
	}
}

// splitView: the world is shown one history and the reader another one, in which the victim's list is the operator's.
func splitView(t *testing.T, w *world) string {
	other := w.truth.fork()
	w.truth.say(w.victim, w.truth.compose(w.victim, transparency.KindUpdate))
	w.after(t, w.IntN(4))
	other.say(w.victim, other.compose(w.victim, transparency.KindReset))
	other.live(w.Rand, w.IntN(6))
	by := w.unwitnessed(t, other, w.old.log.Size)
	// With the cosignatures of the history that the world was shown, it is no better.
	seen, err := w.crowd.cosign(w.truth)
	require.NoError(t, err)
	return by + "; with others' cosignatures: " + refused(t, w.fresh, w.victim, other.answer(seen, w.victim, 0))
}

// staleAnswer: what was true and witnessed once is shown after the victim's list has changed.
func staleAnswer(t *testing.T, w *world) string {
	then := w.truth.fork()
	signed, err := w.crowd.cosign(then)
	require.NoError(t, err)
	w.truth.say(w.victim, w.truth.compose(w.victim, transparency.KindUpdate))
	w.after(t, w.IntN(4))
	w.old.know(t, w.truth, w.crowd, w.victim)
	by := "knows the newer: " + refused(t, w.old, w.victim, then.answer(signed, w.victim, 0))
	// Whoever knows nothing newer finds out by the time. Nobody cosigns the old one anew.
	w.now += 24*3600 + 1 + w.Int64N(30*24*3600)
	by += "; a day later: " + refused(t, w.fresh, w.victim, then.answer(signed, w.victim, 0))
	again, err := w.crowd.cosign(then)
	require.ErrorIs(t, err, errNoQuorum)
	return by + "; asked to be cosigned again: " + refused(t, w.fresh, w.victim, then.answer(again, w.victim, 0))
}

// omittedUpdate: the victim's update is in the log, where the victim sees it, and not in the map, where readers look. Or it is in
// neither, which the victim sees.
func omittedUpdate(t *testing.T, w *world) string {
	x := w.truth.compose(w.victim, transparency.KindUpdate)
	if w.IntN(2) == 0 {
		w.after(t, w.IntN(4))
		self := newReader(honest.pin(t), w.crowd.policy, &w.now)
		self.know(t, w.truth, w.crowd, w.victim)
		require.NotEqual(t, x.Statement, self.records[w.victim].Statement)
		return "owner, who looks themselves up"
	}
	lying := w.truth.fork()
	lying.append(transparency.Entry{Statement: x.Statement, MapRoot: lying.tree.Root()})
	lying.live(w.Rand, w.IntN(4))
	by := w.unwitnessed(t, lying, w.old.log.Size)
	w.crowd.auditor.requireL(t, "L8")
	return "auditor L8, " + by
}

// inventedAbsence: somebody who has keys is said to have none.
func inventedAbsence(t *testing.T, w *world) string {
	w.after(t, w.IntN(4))
	signed, err := w.crowd.cosign(w.truth)
	require.NoError(t, err)
	without := w.emptied(w.victim)
	if w.IntN(2) == 0 { // under the true root
		a := w.truth.answer(signed, w.victim, 0)
		a.Found = nil
		a.Map = without.Prove(w.truth.labels[w.victim]).Marshal()
		if w.IntN(2) == 0 {
			a.Map = w.truth.tree.Prove(w.truth.labels[w.victim]).Marshal()
		}
		return refused(t, w.fresh, w.victim, a)
	}
	lying := w.truth.fork()
	lying.tree = without
	delete(lying.newest, w.victim)
	lying.pad()
	if w.IntN(2) == 0 {
		lying.live(w.Rand, w.IntN(3))
		if _, back := lying.newest[w.victim]; back { // they say something new, as if for the first time
			delete(lying.newest, w.victim)
			lying.tree = without
			lying.pad()
		}
	}
	by := w.unwitnessed(t, lying, w.old.log.Size)
	w.crowd.auditor.requireL(t, "L8")
	return "auditor L8, " + by
}

// emptied is the map without one actor.
func (w *world) emptied(actor string) (tree prefixtree.Tree) {
	for a, x := range w.truth.newest {
		if a != actor {
			tree = tree.Put(w.truth.labels[a], x.MapValue())
		}
	}
	return tree
}

// swapAndRevert: for a moment the log has a list of the operator's making, in good order; then the old devices are back.
func swapAndRevert(t *testing.T, w *world) string {
	owner := newOwner(w.truth, w.victim)
	before := w.truth.newest[w.victim]
	swapped := w.truth.compose(w.victim, transparency.KindReset)
	w.truth.say(w.victim, swapped)
	during := newReader(w.old.log, w.crowd.policy, &w.now)
	during.records[w.victim] = w.old.records[w.victim]
	signed, err := w.crowd.cosign(w.truth)
	require.NoError(t, err)
	told, err := during.learn(w.victim, w.truth.answer(signed, w.victim, during.log.Size))
	require.NoError(t, err)
	require.True(t, told, "who knew the old list is not told of the reset")
	by := "reader is told of the reset; "
	if w.IntN(2) == 0 { // reverted in the map alone
		lying := w.truth.fork()
		lying.tree = lying.tree.Put(lying.labels[w.victim], before.MapValue())
		lying.newest[w.victim] = before
		lying.pad()
		signed, err := w.crowd.cosign(lying)
		require.ErrorIs(t, err, errNoQuorum)
		w.crowd.auditor.requireL(t, "L8")
		by += "auditor L8, " + refused(t, during, w.victim, lying.answer(signed, w.victim, during.log.Size))
		require.Equal(t, 1, owner.scan(lying))
		return by + "; owner, who reads the entries"
	}
	w.truth.say(w.victim, w.truth.compose(w.victim, transparency.KindUpdate)) // by the operator's key
	w.after(t, w.IntN(3))
	require.GreaterOrEqual(t, owner.scan(w.truth), 2)
	signed, err = w.crowd.cosign(w.truth)
	require.NoError(t, err)
	told, err = w.old.learn(w.victim, w.truth.answer(signed, w.victim, w.old.log.Size))
	require.NoError(t, err)
	require.True(t, told, "who only saw before and after is not told")
	return by + "owner, who reads the entries; who saw before and after is told"
}

// wrongRoot: the map that the root stands for has another list than the entries.
func wrongRoot(t *testing.T, w *world) string {
	lying := w.truth.fork()
	forged := lying.compose(w.victim, transparency.KindUpdate) // signed as promised or not: it is not in the log
	if w.IntN(2) == 0 {
		forged = lying.compose(w.victim, transparency.KindReset)
	}
	lying.tree = lying.tree.Put(lying.labels[w.victim], forged.MapValue())
	lying.newest[w.victim] = forged
	lying.pad()
	by := w.unwitnessed(t, lying, w.old.log.Size)
	w.crowd.auditor.requireL(t, "L8")
	// Under a root that everybody has seen, nothing else can be shown.
	a := w.truth.answer(nil, w.victim, 0)
	var err error
	if a.Checkpoint, err = w.crowd.cosign(w.truth); errors.Is(err, errNoQuorum) { // the witnesses know the lying tree by now
		w.crowd = newCrowd(&w.now, honest)
		a.Checkpoint, err = w.crowd.cosign(w.truth)
	}
	require.NoError(t, err)
	a.Map = lying.tree.Prove(lying.labels[w.victim]).Marshal()
	a.Found = lying.answer(nil, w.victim, 0).Found
	return "auditor L8, " + by + "; under the true root: " + refused(t, w.fresh, w.victim, a)
}

// wrongVRF: the victim is looked for under another label than theirs, where nothing is or somebody else.
func wrongVRF(t *testing.T, w *world) string {
	w.after(t, w.IntN(4))
	signed, err := w.crowd.cosign(w.truth)
	require.NoError(t, err)
	other := actors[(w.IntN(len(actors)-1)+1+indexOf(w.victim))%len(actors)]
	a := w.truth.answer(signed, other, 0)
	by := "somebody else's: " + refused(t, w.fresh, w.victim, a)
	a = w.truth.answer(signed, w.victim, 0)
	a.VRF, a.Found = decoy.proofs[w.victim], nil
	a.Map = w.truth.tree.Prove(decoy.labels[w.victim]).Marshal()
	by += "; by another key: " + refused(t, w.fresh, w.victim, a)
	// Nor can the log say that its key is another.
	b := decoy.vrf.Public().Bytes()
	_, err = transparency.Pin(host, honest.origin, honest.key, b[:])
	require.Error(t, err)
	return by + "; announced: refused to be pinned"
}

func indexOf(actor string) int {
	for i, a := range actors {
		if a == actor {
			return i
		}
	}
	return -1
}

// rollback: the log was restored from a backup and goes on, under its name and keys.
func rollback(t *testing.T, w *world) string {
	restored := w.truth.fork()
	w.truth.say(w.victim, w.truth.compose(w.victim, transparency.KindUpdate))
	w.after(t, w.IntN(5))
	w.old.know(t, w.truth, w.crowd, w.victim)
	restored.live(w.Rand, 1+w.IntN(8)) // fewer, as many, or more entries than were lost
	return w.unwitnessed(t, restored, min(w.old.log.Size, restored.size()))
}

// decoyLog: another log under other keys is shown to who looks for this one.
func decoyLog(t *testing.T, w *world) string {
	other := newStory(decoy, &w.now).liveWith(w.Rand, w.victim, w.IntN(8))
	by := "who has pinned the log: " + refused(t, w.old, w.victim, other.answer(other.checkpoint(), w.victim, 0))
	// Who was given the decoy's keys at the first meeting asks for witnesses, and those have been given the log's.
	signed, err := w.crowd.cosign(other)
	require.ErrorIs(t, err, errNoQuorum)
	_, err = newReader(decoy.pin(t), nil, &w.now).learn(w.victim, other.answer(signed, w.victim, 0))
	require.NoError(t, err, "who asks for no witnesses believes it")
	misled := newReader(decoy.pin(t), w.crowd.policy, &w.now)
	return by + "; who has pinned the decoy: " + refused(t, misled, w.victim, other.answer(signed, w.victim, 0))
}

// TestAllWitnessesCollude: nobody who looks at one history alone can find out that there are two. Two readers who tell each other what
// they have seen do, and what each has been shown convicts the log before everybody else.
func TestAllWitnessesCollude(t *testing.T) {
	for i := range histories(t) / 10 {
		w := newWorld(t, uint64(i))
		other := w.truth.fork()
		w.truth.say(w.victim, w.truth.compose(w.victim, transparency.KindUpdate))
		other.say(w.victim, other.compose(w.victim, transparency.KindUpdate))
		w.truth.live(w.Rand, w.IntN(5))
		other.live(w.Rand, w.IntN(5))
		one, two := w.old, newReader(w.old.log, w.crowd.policy, &w.now)
		for r, s := range map[*reader]*story{one: w.truth, two: other} {
			_, err := r.learn(w.victim, s.answer(colluding(s, w.now), w.victim, r.log.Size))
			require.NoError(t, err)
		}
		smaller, larger, whole := one.log, two.log, other // the story that the larger tree is of
		if smaller.Size > larger.Size {
			smaller, larger, whole = larger, smaller, w.truth
		}
		root, err := tlog.TreeHash(smaller.Size, tlog.HashReaderFunc(whole.read))
		require.NoError(t, err)
		require.NotEqual(t, smaller.Root, root, "who compares finds out at once")
		proof := must(whole.prove(ctx, smaller.Size, larger.Size))
		e, err := transparency.FindEvidence(honest.key, one.log.Note, two.log.Note, root, proof)
		require.NoError(t, err)
		e, err = transparency.ParseEvidence(e.Marshal())
		require.NoError(t, err)
		_, _, err = e.Verify(honest.key)
		require.NoError(t, err)
	}
}

// colluding is a checkpoint with everybody's cosignature, whatever it says.
func colluding(s *story, seconds int64) []byte {
	n := must(note.Open(s.checkpoint(), note.VerifierList(s.verifier)))
	all := []note.Signer{auditorKey.At(seconds)}
	for _, k := range witnessKeys {
		all = append(all, k.At(seconds))
	}
	return must(note.Sign(n, all...))
}
