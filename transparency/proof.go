package transparency

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// MaxProof is the most bytes an encoded Proof may have.
	MaxProof = 128 << 10

	proofHeader = "c2sp.org/tlog-proof@v1"
)

// Proof says offline that an entry is in a log: a C2SP tlog-proof. Nothing in it counts before it was verified, and Extra not
// even then: no signature covers it.
type Proof struct {
	Index      int64
	Extra      []byte // none: the line is left out
	Inclusion  []tlog.Hash
	Checkpoint []byte // signed note
}

// Marshal gives the text of a proof.
func (p Proof) Marshal() []byte {
	var b bytes.Buffer
	b.WriteString(proofHeader + "\n")
	if len(p.Extra) > 0 {
		fmt.Fprintf(&b, "extra %s\n", b64.EncodeToString(p.Extra))
	}
	fmt.Fprintf(&b, "index %d\n", p.Index)
	for _, h := range p.Inclusion {
		b.WriteString(b64.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n")
	b.Write(p.Checkpoint)
	return b.Bytes()
}

// ParseProof reads the text of a proof in the one spelling it has. The checkpoint is taken as it stands.
func ParseProof(text []byte) (Proof, error) {
	if len(text) > MaxProof {
		return Proof{}, fmt.Errorf("transparency: reading a proof of %d bytes: at most %d", len(text), MaxProof)
	}
	head, checkpoint, ok := bytes.Cut(text, []byte("\n\n"))
	if !ok || len(checkpoint) == 0 || len(checkpoint) > MaxNote {
		return Proof{}, errors.New("transparency: reading a proof: no checkpoint after an empty line, or too long a one")
	}
	p, err := proofHead(strings.Split(string(head), "\n"))
	if err != nil {
		return Proof{}, fmt.Errorf("transparency: reading a proof: %w", err)
	}
	p.Checkpoint = bytes.Clone(checkpoint)
	if !bytes.Equal(p.Marshal(), text) {
		return Proof{}, errors.New("transparency: reading a proof: not in its canonical spelling")
	}
	return p, nil
}

func proofHead(lines []string) (p Proof, err error) {
	if lines[0] != proofHeader {
		return p, errors.New("not a tlog-proof of version 1")
	}
	lines = lines[1:]
	if len(lines) > 0 {
		if text, ok := strings.CutPrefix(lines[0], "extra "); ok {
			if p.Extra, err = b64.DecodeString(text); err != nil {
				return p, fmt.Errorf("extra line: %w", err)
			}
			lines = lines[1:]
		}
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return p, errors.New("no index line")
	}
	if p.Index, err = strconv.ParseInt(lines[0][len("index "):], 10, 64); err != nil || p.Index < 0 {
		return p, errors.New("the index is not a number from 0")
	}
	if len(lines)-1 > maxProof {
		return p, fmt.Errorf("%d hashes", len(lines)-1)
	}
	p.Inclusion, err = hashes(lines[1:])
	return p, err
}

// Verify holds W13 and W15: the policy's quorum cosigned the checkpoint (see Policy.Evaluate for log and except), and the entry with
// that leaf hash is in the tree at the proof's index. How old the verdict may be is the caller's to say; so is, where the entry has
// to be the newest one, that the index is the last of the verdict's size.
func (p Proof) Verify(leaf tlog.Hash, policy *Policy, log note.Verifier, except ...string) (Verdict, error) {
	v, err := policy.Evaluate(p.Checkpoint, log, except...)
	if err != nil {
		return Verdict{}, err
	}
	if err := v.quorum(); err != nil {
		return Verdict{}, err
	}
	if err := tlog.CheckRecord(p.Inclusion, v.Checkpoint.Size, v.Checkpoint.Root, p.Index, leaf); err != nil {
		return Verdict{}, Failed("W15", "%v", err)
	}
	return v, nil
}

var b64 = base64.StdEncoding.Strict()

func hashes(in []string) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, 0, len(in))
	for _, s := range in {
		h, err := b64.DecodeString(s)
		if err != nil || len(h) != tlog.HashSize {
			return nil, fmt.Errorf("not a hash")
		}
		out = append(out, tlog.Hash(h))
	}
	return out, nil
}
