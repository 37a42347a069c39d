package receipt_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// A submit is everything that a submission's signature is about.
type submit struct {
	ticket      [32]byte
	group       []byte
	term, epoch uint64
	commit      []byte
	next        [32]byte
	signature   []byte
}

func (s submit) verify() bool {
	return receipt.VerifySubmit(s.ticket, s.group, s.term, s.epoch, s.commit, s.next, s.signature)
}

func TestS5SignatureCoversEachField(t *testing.T) {
	ticket := receipt.TicketKey(bytes.Repeat([]byte{7}, 32))
	good := submit{[32]byte(ticket.Public().(ed25519.PublicKey)), []byte("group"), 1, 4, []byte("commit"), [32]byte{5}, nil}
	good.signature = receipt.SignSubmit(ticket, good.group, good.term, good.epoch, good.commit, good.next)
	require.True(t, good.verify())

	hash := sha256.Sum256(good.commit)
	text := append([]byte("waxwing submit v1\x00\x05group"), binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 1), 4)...)
	text = append(append(text, hash[:]...), good.next[:]...)
	require.Equal(t, ed25519.Sign(ticket, text), good.signature, "as spec/receipt.md has it")

	for name, change := range map[string]func(*submit){
		"another ticket":         func(s *submit) { s.ticket = [32]byte(public(1)) },
		"ticket flipped":         func(s *submit) { s.ticket[0] ^= 1 },
		"no ticket":              func(s *submit) { s.ticket = [32]byte{} },
		"another group":          func(s *submit) { s.group = []byte("grouq") },
		"a shorter group":        func(s *submit) { s.group = s.group[:4] },
		"no group":               func(s *submit) { s.group = nil },
		"too long a group":       func(s *submit) { s.group = make([]byte, 65) },
		"far too long a group":   func(s *submit) { s.group = make([]byte, 300) },
		"another term":           func(s *submit) { s.term++ },
		"another epoch":          func(s *submit) { s.epoch++ },
		"term and epoch swapped": func(s *submit) { s.term, s.epoch = s.epoch, s.term },
		"another commit":         func(s *submit) { s.commit = []byte("commiT") },
		"no commit":              func(s *submit) { s.commit = nil },
		"another next ticket":    func(s *submit) { s.next[31] ^= 1 },
		"signature flipped":      func(s *submit) { s.signature = append(bytes.Clone(s.signature[:63]), s.signature[63]^1) },
		"signature cut":          func(s *submit) { s.signature = s.signature[:63] },
		"signature and a byte":   func(s *submit) { s.signature = append(bytes.Clone(s.signature), 0) },
		"no signature":           func(s *submit) { s.signature = nil },
		"a receipt's signature": func(s *submit) {
			s.signature = ed25519.Sign(ticket, append([]byte("waxwing receipt v1\x00"), text[18:]...))
		},
		"signed by the next key":  func(s *submit) { s.signature = ed25519.Sign(key(1), text) },
		"signed without a header": func(s *submit) { s.signature = ed25519.Sign(ticket, text[18:]) },
	} {
		s := good
		change(&s)
		require.False(t, s.verify(), name)
	}
	require.True(t, good.verify())
}

func FuzzParse(f *testing.F) {
	open := signed(openReceipt())
	f.Add(open)
	f.Add(signed(after(open, 1)))
	f.Add([]byte{1, 2, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := receipt.Parse(b)
		if err != nil {
			require.Zero(t, r)
			return
		}
		require.Equal(t, b, r.Marshal(), "one receipt, one spelling")
		require.LessOrEqual(t, len(r.GroupID), receipt.MaxGroupID)
	})
}

func FuzzParseConversationURL(f *testing.F) {
	f.Add("https://a.example/waxwing/conversations/00ff")
	f.Add("https://a.example/waxwing/conversations/AB")
	f.Add("/waxwing/conversations//waxwing/conversations/00")
	f.Fuzz(func(t *testing.T, u string) {
		instance, id, err := receipt.ParseConversationURL(u)
		if err != nil {
			require.Zero(t, instance)
			require.Nil(t, id)
			return
		}
		require.Equal(t, u, receipt.ConversationURL(instance, id))
	})
}
