package mls

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// The state of a group is a set of records, so that a step writes what it changes and no more. Numbers in keys are hexadecimal
// and of fixed width; the values are in stored.go.
//
//	group                      context, secrets and private keys of the epoch, and who we are; changes once an epoch
//	node/NODE                  a node of the ratchet tree that is not blank
//	proposal/N                 a proposal by reference of this epoch, in the order in which they came
//	update/N                   the key of an Update of our own among them
//	pending                    a commit of ours: its messages, and how the epoch that it opens differs from this one
//	export/NODE                a secret of the exporter tree of this epoch that has not been used up; of a leaf that was, nothing
//	past/EPOCH                 an epoch that is over, and the leaves that the next one replaced
//	secret/EPOCH/NODE          a secret of the secret tree from which nothing has been derived yet
//	ratchet/EPOCH/LEAF/KIND    a sender's ratchet, with the keys that wait; 0: handshake, 1: application
//
// The last two are of this epoch and of those in past: when an epoch ends they stay as they are. Between the root of a secret tree
// and each of its leaves there is one secret, or a pair of ratchets at the leaf.

// A Record of a group's state. Its value is not to be changed. Among Changes, nil says that the record is to be deleted.
type Record struct {
	Key   string
	Value []byte
}

type records map[string][]byte

func (r records) put(key string, add func(*cryptobyte.Builder)) { r[key] = build(add) }

// Changes are the records to be put and deleted, sorted by key, for what is stored of since to become g. since is the Clone that was
// taken when records were last written; for nil, Changes are all records of g. Equal states have equal records.
func (g *Group) Changes(since *Group) []Record {
	if since == nil {
		since = new(Group)
	}
	was, now := records{}, records{}
	since.recordsTo(was, g)
	g.recordsTo(now, since)
	var list []Record
	for key, value := range now {
		if old, ok := was[key]; !ok || !bytes.Equal(old, value) {
			list = append(list, Record{key, value})
		}
	}
	for key := range was {
		if _, ok := now[key]; !ok {
			list = append(list, Record{key, nil})
		}
	}
	slices.SortFunc(list, func(a, b Record) int { return cmp.Compare(a.Key, b.Key) })
	return list
}

// recordsTo writes all records but those of parts that g and other share. It may write more than differs, for what comes out equal
// does not count; what it left out would be lost.
func (g *Group) recordsTo(r records, other *Group) {
	if g.secrets == nil {
		return // nothing was stored yet
	}
	if g.secrets != other.secrets || g.removed != other.removed { // all else in it comes and goes with the secrets
		r.put(groupKey, g.addHead)
	}
	if g.tree != other.tree {
		for i, n := range g.tree.nodes {
			if x := nodeIndex(i); !n.blank() && n != other.tree.at(x) {
				r.put(nodeKey(x), n.add)
			}
		}
	}
	g.exports.recordsTo(r, other.exports)
	for i := range g.proposals {
		if i >= len(other.proposals) || !bytes.Equal(g.proposals[i].ref, other.proposals[i].ref) { // a hash of all there is
			r.put(proposalKey(i), g.proposals[i].add)
		}
	}
	for i := range g.updates {
		r.put(updateKey(i), g.updates[i].add)
	}
	if g.pending != nil && (g.pending != other.pending || g.tree != other.tree) {
		r.put(pendingKey, func(b *cryptobyte.Builder) { g.pending.add(b, g.tree) })
	}
	kept := other.epochs()
	for epoch, p := range g.epochs() {
		if p.endedEpoch != nil && p.endedEpoch != kept[epoch].endedEpoch {
			r.put(pastKey(epoch), p.add)
		}
		p.messages.recordsTo(r, epoch, kept[epoch].messages)
	}
}

// epochs whose messages can be read. The current one has not ended.
func (g *Group) epochs() map[uint64]pastEpoch {
	epochs := map[uint64]pastEpoch{}
	if g.messages != nil {
		epochs[g.context.epoch] = pastEpoch{nil, g.messages}
	}
	for _, p := range g.past {
		epochs[p.context.epoch] = p
	}
	return epochs
}

func (t *secretTree) recordsTo(r records, epoch uint64, other *secretTree) {
	if other == nil || other.leaves != t.leaves {
		other = new(secretTree)
	}
	t.root.recordsTo(r, epoch, root(t.leaves), other.root)
}

func (n *secretNode) recordsTo(r records, epoch uint64, x nodeIndex, other *secretNode) {
	switch {
	case n == other:
		return
	case n.secret != nil:
		r[secretKey(epoch, x)] = n.secret
		return
	case x.isLeaf():
		for kind := range n.ratchets {
			r.put(ratchetKey(epoch, x.leaf(), ratchetKind(kind)), n.ratchets[kind].add)
		}
		return
	case other == nil:
		other = new(secretNode)
	}
	n.left.recordsTo(r, epoch, x.left(), other.left)
	n.right.recordsTo(r, epoch, x.right(), other.right)
}

// LoadGroup makes a group of all its records, in any order. What Changes would not have written is refused with ErrDamaged.
func LoadGroup(list []Record) (*Group, error) {
	r, err := collect(list)
	if err != nil {
		return nil, err
	}
	g := new(Group)
	if what := g.load(r); what != "" {
		return nil, damaged("%s cannot be read", what)
	}
	if r.taken != len(r.records) {
		return nil, damaged("%d of %d records do not belong to it", len(r.records)-r.taken, len(r.records))
	}
	return g, nil
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("mls: reading a stored group: %s: %w", fmt.Sprintf(format, args...), ErrDamaged)
}

func collect(list []Record) (*stored, error) {
	size := 0
	for _, x := range list {
		size += len(x.Key) + len(x.Value)
	}
	if len(list) > maxRecords || size > maxState {
		return nil, damaged("%d records of %d bytes; at most %d of %d are read", len(list), size, maxRecords, maxState)
	}
	r := &stored{records: make(records, len(list))}
	for _, x := range list {
		r.records[x.Key] = x.Value
	}
	if len(r.records) != len(list) {
		return nil, damaged("two records have one key")
	}
	return r, nil
}

const groupKey, pendingKey = "group", "pending"

func nodeKey(x nodeIndex) string { return key("node", uint64(x), 4) }

func proposalKey(i int) string { return key("proposal", uint64(i), 2) }

func updateKey(i int) string { return key("update", uint64(i), 2) }

func pastKey(epoch uint64) string { return key("past", epoch, 8) }

func secretKey(epoch uint64, x nodeIndex) string { return key(key("secret", epoch, 8), uint64(x), 4) }

func exportKey(x nodeIndex) string { return key("export", uint64(x), 4) }

func ratchetKey(epoch uint64, l leafIndex, kind ratchetKind) string {
	return key(key(key("ratchet", epoch, 8), uint64(l), 4), uint64(kind), 1)
}

// key appends a number of that many bytes.
func key(prefix string, n uint64, size int) string {
	b := append(make([]byte, 0, len(prefix)+1+2*size), prefix...)
	return string(hex.AppendEncode(append(b, '/'), binary.BigEndian.AppendUint64(nil, n)[8-size:]))
}
