package witness

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

const (
	maxProof = 63 // hashes, of C2SP tlog-witness

	// MaxRequest is the most bytes the body of an add-checkpoint request may have. Read no more of it.
	MaxRequest = transparency.MaxNote + 4096
)

// request is the body of an add-checkpoint request.
type request struct {
	old        int64
	proof      []tlog.Hash
	checkpoint []byte
}

func (r request) marshal() []byte {
	b := fmt.Appendf(nil, "old %d\n", r.old)
	for _, h := range r.proof {
		b = base64.StdEncoding.AppendEncode(b, h[:])
		b = append(b, '\n')
	}
	return append(append(b, '\n'), r.checkpoint...)
}

// parseRequest is W1, but for the checkpoint, which is taken as it stands.
func parseRequest(body []byte) (request, error) {
	if len(body) > MaxRequest {
		return request{}, fmt.Errorf("more than %d bytes", MaxRequest)
	}
	head, checkpoint, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok {
		return request{}, errors.New("no empty line before the checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	if len(lines)-1 > maxProof {
		return request{}, fmt.Errorf("more than %d hashes", maxProof)
	}
	size, ok := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseInt(size, 10, 64)
	if !ok || err != nil || old < 0 {
		return request{}, errors.New("no old size in the first line")
	}
	r := request{old: old, checkpoint: checkpoint}
	for _, l := range lines[1:] {
		h, err := base64.StdEncoding.DecodeString(l)
		if err != nil || len(h) != tlog.HashSize {
			return request{}, errors.New("a line of the proof is not a hash")
		}
		r.proof = append(r.proof, tlog.Hash(h))
	}
	if !bytes.Equal(r.marshal(), body) {
		return request{}, errors.New("a number or hash is not in its canonical spelling")
	}
	return r, nil
}

// consistent is W6: the tree of c continues the one that was cosigned last.
func (r request) consistent(old State, c transparency.Checkpoint) error {
	switch {
	case c.Size == 0 && c.Root != sha256.Sum256(nil):
		return errors.New("the root of the empty tree is another one")
	case old.Size == 0 && len(r.proof) > 0:
		return errors.New("a proof from the empty tree")
	case old.Size == 0:
		return nil
	}
	if err := tlog.CheckTree(r.proof, c.Size, c.Root, old.Size, old.Root); err != nil {
		return fmt.Errorf("not the same log as of size %d: %w", old.Size, err)
	}
	return nil
}
