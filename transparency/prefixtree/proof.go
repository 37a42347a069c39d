package prefixtree

import "fmt"

// Proof shows what a tree says about one label. The zero value is the proof that the empty tree has no labels.
type Proof struct {
	kind  kind
	path  []step    // from the root down
	other neighbour // of kindLeaf and kindNode: what stands where the label would
}

type kind uint8

const (
	kindEmpty   kind = 0
	kindPresent kind = 1
	kindLeaf    kind = 2
	kindNode    kind = 3
)

// A step is a node on the way to the label: how deep it stands, and the hash of the child that is not on the way.
type step struct {
	depth   uint8
	sibling [32]byte
}

// A neighbour is a [Leaf] or a branch. All labels in it begin with the first bits of its prefix.
type neighbour interface {
	hash() [32]byte
	prefix() (label [32]byte, bits int)
	append(b []byte) []byte
}

// A branch is a node in a proof.
type branch struct {
	depth       uint8
	bits        [32]byte // zero from depth on
	left, right [32]byte
}

func (l Leaf) prefix() ([32]byte, int) { return l.Label, labelBits }

func (n branch) prefix() ([32]byte, int) { return n.bits, int(n.depth) }

func (n branch) hash() [32]byte { return hashNode(int(n.depth), &n.bits, &n.left, &n.right) }

// failed names the numbered check of spec/prefix-tree.md that did not hold.
func failed(check, format string, args ...any) error {
	return fmt.Errorf("prefixtree: check %s: %s", check, fmt.Sprintf(format, args...))
}

// Verify checks that the tree with this root has this value for the label.
func (p Proof) Verify(root, label, value [32]byte) error {
	if p.kind != kindPresent {
		return failed("T5", "a proof of absence for a label that should be there")
	}
	return p.reaches(root, label, Leaf{Label: label, Value: value}.hash())
}

// VerifyAbsence checks that the tree with this root has no value for the label.
func (p Proof) VerifyAbsence(root, label [32]byte) error {
	_, err := p.absent(root, label)
	return err
}

// VerifyReplace checks that the tree with this root has value old for the label, and returns its root once the label has value
// new and everything else is as it was.
func (p Proof) VerifyReplace(root, label, old, new [32]byte) (after [32]byte, err error) {
	if err := p.Verify(root, label, old); err != nil {
		return after, err
	}
	return p.rootOver(label, Leaf{Label: label, Value: new}.hash()), nil
}

// VerifyInsert checks that the tree with this root has no value for the label, and returns its root once the label has this
// value and everything else is as it was.
func (p Proof) VerifyInsert(root, label, value [32]byte) (after [32]byte, err error) {
	at, err := p.absent(root, label)
	if err != nil {
		return after, err
	}
	end := Leaf{Label: label, Value: value}.hash()
	if p.other != nil {
		other := p.other.hash()
		end = hashFork(at, &label, &end, &other)
	}
	return p.rootOver(label, end), nil
}

// absent returns the bit in which the label and its neighbour part.
func (p Proof) absent(root, label [32]byte) (at int, err error) {
	switch {
	case p.kind == kindPresent:
		return 0, failed("T5", "a proof of presence for a label that should not be there")
	case p.kind == kindEmpty:
		return 0, p.reaches(root, label, hashEmpty)
	}
	begin, bits := p.other.prefix()
	at = commonPrefix(label, begin)
	if at >= bits {
		return 0, failed("T6", "the label begins with all %d bits of its neighbour", bits)
	}
	if n := len(p.path); n > 0 && at <= int(p.path[n-1].depth) {
		return 0, failed("T7", "the neighbour parts from the label at bit %d, above its own node at %d", at, p.path[n-1].depth)
	}
	return at, p.reaches(root, label, p.other.hash())
}

func (p Proof) reaches(root, label, end [32]byte) error {
	if p.rootOver(label, end) != root {
		return failed("T8", "the path does not lead to the root")
	}
	return nil
}

// rootOver is the root of the tree that has this hash at the end of the path.
func (p Proof) rootOver(label, end [32]byte) [32]byte {
	for i := len(p.path) - 1; i >= 0; i-- {
		end = hashFork(int(p.path[i].depth), &label, &end, &p.path[i].sibling)
	}
	return end
}
