package transparency

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// MaxEvidence is the most bytes that the text of a piece of evidence may have.
	MaxEvidence = 2*MaxNote + 8<<10

	evidenceHeader = "waxwing/log-evidence@v1"
)

// Evidence proves offline, to anybody, that a log told two histories: two checkpoints that its key signed and that no one log can
// have (spec/gossip.md). Nothing in it counts before [Evidence.Verify].
//
// Where the sizes are equal, the roots differ, and that is all. Where they differ, the larger tree is shown to have another root at
// the smaller size than the one that was signed for it. That a log shrank is no evidence: the smaller checkpoint may be the older one.
type Evidence struct {
	Key            string // note verifier key of the log
	Smaller, Other []byte // signed notes; of equal sizes, the one with the lower root first
	Root           tlog.Hash
	Proof          []tlog.Hash // that Root is what Other's tree had at Smaller's size; of equal sizes neither
}

// FindEvidence makes evidence of two signed checkpoints of the log with that key, in any order. root and proof say what the larger
// tree had at the smaller one's size. The error says why they prove nothing.
func FindEvidence(key string, a, b []byte, root tlog.Hash, proof []tlog.Hash) (Evidence, error) {
	x, err := UnverifiedCheckpoint(a)
	if err != nil {
		return Evidence{}, err
	}
	y, err := UnverifiedCheckpoint(b)
	if err != nil {
		return Evidence{}, err
	}
	e := Evidence{Key: key, Smaller: a, Other: b, Root: root, Proof: proof}
	if !inOrder(x, y) {
		e.Smaller, e.Other = b, a
	}
	if x.Size == y.Size {
		e.Root, e.Proof = tlog.Hash{}, nil
	}
	_, _, err = e.Verify(key)
	if err != nil {
		return Evidence{}, err
	}
	return e, nil
}

func inOrder(x, y Checkpoint) bool {
	return x.Size < y.Size || x.Size == y.Size && bytes.Compare(x.Root[:], y.Root[:]) < 0
}

// Verify holds G3 to G5 with a key that the caller has from elsewhere, or with e.Key to learn what is proven of whoever has that one.
func (e Evidence) Verify(key string) (smaller, other Checkpoint, err error) {
	if key != e.Key {
		return smaller, other, Failed("G3", "it is about the log with another key")
	}
	v, err := note.NewVerifier(key)
	if err != nil {
		return smaller, other, Failed("G3", "%v", err)
	}
	if smaller, err = OpenCheckpoint(e.Smaller, v); err == nil {
		other, err = OpenCheckpoint(e.Other, v)
	}
	if err != nil {
		return Checkpoint{}, Checkpoint{}, Failed("G3", "%v", err)
	}
	if err := e.contradiction(smaller, other); err != nil {
		return Checkpoint{}, Checkpoint{}, err
	}
	return smaller, other, nil
}

func (e Evidence) contradiction(smaller, other Checkpoint) error {
	switch {
	case !inOrder(smaller, other):
		return Failed("G4", "the two checkpoints agree, or stand in the wrong order")
	case smaller.Size == other.Size && (len(e.Proof) > 0 || e.Root != tlog.Hash{}):
		return Failed("G4", "trees of one size need no proof")
	case smaller.Size == other.Size:
		return nil
	case smaller.Size == 0:
		return Failed("G5", "every log begins with nothing")
	case e.Root == smaller.Root:
		return Failed("G5", "the larger tree continues the smaller one")
	}
	if err := tlog.CheckTree(e.Proof, other.Size, other.Root, smaller.Size, e.Root); err != nil {
		return Failed("G5", "what the larger tree had at %d entries: %v", smaller.Size, err)
	}
	return nil
}

// Marshal gives the text: a head, an empty line, and the two notes one after the other.
//
//	waxwing/log-evidence@v1
//	key <vkey>
//	notes <bytes of the smaller> <bytes of the other>
//	root <base64>              of different sizes only
//	<base64>                   a line for each hash of the proof
func (e Evidence) Marshal() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nkey %s\nnotes %d %d\n", evidenceHeader, e.Key, len(e.Smaller), len(e.Other))
	if (e.Root != tlog.Hash{}) {
		fmt.Fprintf(&b, "root %s\n", b64.EncodeToString(e.Root[:]))
	}
	for _, h := range e.Proof {
		b.WriteString(b64.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n")
	b.Write(e.Smaller)
	b.Write(e.Other)
	return b.Bytes()
}

// ParseEvidence is check G2: the one spelling, within its bounds. The notes are taken as they stand.
func ParseEvidence(text []byte) (Evidence, error) {
	if len(text) > MaxEvidence {
		return Evidence{}, fmt.Errorf("transparency: reading evidence of %d bytes: at most %d", len(text), MaxEvidence)
	}
	head, notes, ok := bytes.Cut(text, []byte("\n\n"))
	if !ok {
		return Evidence{}, Failed("G2", "no empty line after the head")
	}
	e, err := evidenceHead(strings.Split(string(head), "\n"), notes)
	if err != nil {
		return Evidence{}, Failed("G2", "%v", err)
	}
	if !bytes.Equal(e.Marshal(), text) {
		return Evidence{}, Failed("G2", "not in its canonical spelling")
	}
	return e, nil
}

func evidenceHead(lines []string, notes []byte) (e Evidence, err error) {
	if len(lines) < 3 || lines[0] != evidenceHeader {
		return e, errors.New("not evidence of version 1")
	}
	var ok bool
	if e.Key, ok = strings.CutPrefix(lines[1], "key "); !ok {
		return e, errors.New("no key line")
	}
	if _, _, _, err := parseKey(e.Key); err != nil {
		return e, err
	}
	size, err := smallerSize(lines[2])
	if err != nil || size > len(notes) || size > MaxNote || len(notes)-size > MaxNote {
		return e, errors.New("the notes are not as long as the head says, or too long")
	}
	e.Smaller, e.Other = bytes.Clone(notes[:size]), bytes.Clone(notes[size:])
	lines = lines[3:]
	if len(lines) == 0 {
		return e, nil
	}
	if len(lines)-1 > maxProof {
		return e, fmt.Errorf("%d hashes", len(lines)-1)
	}
	lines[0], ok = strings.CutPrefix(lines[0], "root ")
	all, err := hashes(lines)
	if err != nil || !ok {
		return e, errors.New("root and proof are not hashes")
	}
	e.Root = all[0]
	if len(all) > 1 {
		e.Proof = all[1:]
	}
	return e, nil
}

func smallerSize(line string) (int, error) {
	text, ok := strings.CutPrefix(line, "notes ")
	first, _, two := strings.Cut(text, " ")
	if !ok || !two {
		return 0, errors.New("no notes line")
	}
	n, err := strconv.ParseUint(first, 10, 31)
	return int(n), err
}
