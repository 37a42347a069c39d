package transparency

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// MaxAnswer is the most bytes a lookup answer may have.
	MaxAnswer = 64 << 10
	// AnswerType is the media type of a lookup answer.
	AnswerType = "application/vnd.waxwing.lookup"

	answerVersion = 2
	maxAnswerNote = 16 << 10 // bytes of a signed checkpoint, with room for cosignatures
	maxProof      = 64       // hashes; a log of 2^63 entries needs no more
	maxMapProof   = 9 << 10
	maxContent    = 40 << 10
	proofSizeVRF  = 80
)

// Answer is a directory's answer to a lookup. Nothing in it counts before [Log.Check].
type Answer struct {
	Checkpoint  []byte             // signed note with cosignatures
	Newest      []byte             // the log's newest entry
	Inclusion   []tlog.Hash        // of Newest
	Consistency []tlog.Hash        // from the size that was asked from
	VRF         [proofSizeVRF]byte // that the label is the actor's
	Map         []byte             // what Newest's map has for the label, or that it has nothing
	Found       *Found             // nil: nothing
}

// Found is what the map has for a label.
type Found struct {
	Statement []byte // the label's newest
	Opening   [32]byte
	Content   []byte // what the statement commits to
}

// Marshal encodes the answer as spec/log-entry.md has it.
func (a Answer) Marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint8(answerVersion)
	addOpaque(&b, a.Checkpoint)
	b.AddBytes(a.Newest)
	addHashes(&b, a.Inclusion)
	addHashes(&b, a.Consistency)
	b.AddBytes(a.VRF[:])
	addOpaque(&b, a.Map)
	if a.Found == nil {
		b.AddUint8(0)
		return b.BytesOrPanic()
	}
	b.AddUint8(1)
	b.AddBytes(a.Found.Statement)
	b.AddBytes(a.Found.Opening[:])
	addOpaque(&b, a.Found.Content)
	return b.BytesOrPanic()
}

// ParseAnswer reads an answer. Each has one encoding.
func ParseAnswer(data []byte) (a Answer, err error) {
	if len(data) > MaxAnswer {
		return a, fmt.Errorf("transparency: reading a lookup answer of %d bytes: at most %d", len(data), MaxAnswer)
	}
	s := cryptobyte.String(data)
	var version, found uint8
	if !s.ReadUint8(&version) || version != answerVersion {
		return a, fmt.Errorf("transparency: reading a lookup answer: not one of version %d", answerVersion)
	}
	ok := readOpaque(&s, maxAnswerNote, &a.Checkpoint) && s.ReadBytes(&a.Newest, EntrySize) &&
		readHashes(&s, &a.Inclusion) && readHashes(&s, &a.Consistency) &&
		s.CopyBytes(a.VRF[:]) && readOpaque(&s, maxMapProof, &a.Map) && s.ReadUint8(&found) && found <= 1
	if ok && found == 1 {
		a.Found = new(Found)
		ok = s.ReadBytes(&a.Found.Statement, StatementSize) && s.CopyBytes(a.Found.Opening[:]) && readOpaque(&s, maxContent, &a.Found.Content)
	}
	if !ok || !s.Empty() {
		return Answer{}, fmt.Errorf("transparency: reading a lookup answer of %d bytes: malformed", len(data))
	}
	return a, nil
}

func addOpaque(b *cryptobyte.Builder, v []byte) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(v) })
}

func readOpaque(s *cryptobyte.String, limit int, out *[]byte) bool {
	var v cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&v) || len(v) > limit {
		return false
	}
	*out = v
	return true
}

func addHashes(b *cryptobyte.Builder, hashes []tlog.Hash) {
	b.AddUint8(uint8(len(hashes)))
	for _, h := range hashes {
		b.AddBytes(h[:])
	}
}

func readHashes(s *cryptobyte.String, out *[]tlog.Hash) bool {
	var n uint8
	if !s.ReadUint8(&n) || n > maxProof || len(*s) < int(n)*tlog.HashSize {
		return false
	}
	for range n {
		var h tlog.Hash
		s.CopyBytes(h[:])
		*out = append(*out, h)
	}
	return true
}
