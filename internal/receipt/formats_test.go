package receipt_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

func dispute() receipt.Dispute {
	d := receipt.Dispute{GroupID: group, Term: 1, Seq: 7, ReceiptHash: [32]byte{1}, Reason: receipt.ReasonNotAllowed}
	d.Sign(key(5))
	return d
}

func claim(signers ...string) receipt.SignedClaim {
	c := receipt.SignedClaim{Claim: receipt.Claim{
		GroupID: group, Term: 2, Seq: 7, Head: [32]byte{1}, Epoch: 6, Ticket: [32]byte(public(5)),
		Next: receipt.NextHub{Hub: "https://b.example", Key: [32]byte(public(2))}, Time: 9,
	}}
	for i, actor := range signers {
		c.Signatures = append(c.Signatures, c.Claim.Sign(actor, key(byte(10+i))))
	}
	c.SignMember(key(5))
	return c
}

// TestNothingSignedCanBeChanged flips every byte of what is signed: it is refused, or does not verify.
func TestNothingSignedCanBeChanged(t *testing.T) {
	for name, c := range map[string]struct {
		raw    []byte
		verify func([]byte) bool
	}{
		"dispute": {dispute().Marshal(), func(b []byte) bool {
			d, err := receipt.ParseDispute(b)
			return err == nil && d.Verify([32]byte(public(5)))
		}},
		"claim": {claim("https://a.example/users/a", "https://a.example/users/b").Marshal(), func(b []byte) bool {
			c, err := receipt.ParseClaim(b)
			return err == nil && c.VerifyMember() && len(c.Signatures) == 2 && c.Verify(c.Signatures[0]) && c.Verify(c.Signatures[1])
		}},
	} {
		require.True(t, c.verify(c.raw), name)
		for i := range c.raw {
			b := bytes.Clone(c.raw)
			b[i] ^= 0x10
			require.False(t, c.verify(b), "%s, byte %d", name, i)
			require.False(t, c.verify(c.raw[:i]), "%s, cut at %d", name, i)
		}
		require.False(t, c.verify(append(bytes.Clone(c.raw), 0)), name)
	}
}

func TestParseClaimRefuses(t *testing.T) {
	for name, change := range map[string]func(*receipt.SignedClaim){
		"the first term": func(c *receipt.SignedClaim) { c.Term = 1 }, "a seq without a next": func(c *receipt.SignedClaim) { c.Seq = 1<<64 - 1 },
		"no hub": func(c *receipt.SignedClaim) { c.Next.Hub = "" }, "a hub with a path": func(c *receipt.SignedClaim) { c.Next.Hub += "/" },
		"signatures in the wrong order": func(c *receipt.SignedClaim) { c.Signatures[0], c.Signatures[1] = c.Signatures[1], c.Signatures[0] },
		"two of one actor":              func(c *receipt.SignedClaim) { c.Signatures[1] = c.Signatures[0] },
		"a signature of nobody":         func(c *receipt.SignedClaim) { c.Signatures[0].Actor = "" },
		"no group":                      func(c *receipt.SignedClaim) { c.GroupID = nil },
		"130 signatures":                func(c *receipt.SignedClaim) { c.Signatures = signatures(c.Claim, 130, 3) },
		"more than 32 KiB of them":      func(c *receipt.SignedClaim) { c.Signatures = signatures(c.Claim, 17, 1900) },
	} {
		c := claim("a", "b")
		change(&c)
		_, err := receipt.ParseClaim(c.Marshal())
		require.Error(t, err, name)
	}
	_, err := receipt.ParseClaim(claim().Marshal())
	require.NoError(t, err, "after a move nobody has to sign")
	for n, length := range map[int]int{129: 156, 15: 2048} {
		c := claim()
		c.Signatures = signatures(c.Claim, n, length)
		require.True(t, receipt.SignaturesFit(c.Signatures))
		c, err := receipt.ParseClaim(c.Marshal())
		require.NoError(t, err, "as many as there may be")
		require.Len(t, c.Signatures, n)
	}
	require.False(t, receipt.SignaturesFit(signatures(claim().Claim, 130, 3)))
	require.False(t, receipt.SignaturesFit(signatures(claim().Claim, 17, 1900)))
}

// signatures are of so many actors with URLs of that length.
func signatures(c receipt.Claim, n, length int) (all []receipt.ClaimSignature) {
	for i := range n {
		all = append(all, c.Sign(fmt.Sprintf("%0*d", length, i), key(1)))
	}
	return all
}

func TestCheckTerm(t *testing.T) {
	c := claim("a")
	r := c.Receipt(5)
	r.Sign(key(2))
	chain, got, err := receipt.CheckTerm(r.Marshal(), c.Marshal(), group)
	require.NoError(t, err)
	require.Equal(t, c, got)
	require.Equal(t, receipt.Chain{GroupID: group, HubKey: [32]byte(public(2)), Term: 2, Seq: 8, Head: receipt.Head(r.Marshal())}, chain)
	_, _, err = receipt.CheckTerm(r.Marshal(), c.Marshal(), []byte("other"))
	require.ErrorIs(t, err, receipt.ErrChain)
	for name, change := range map[string]func(*receipt.Receipt){
		"kind": func(r *receipt.Receipt) { r.Kind = receipt.KindReopen }, "term": func(r *receipt.Receipt) { r.Term++ }, "seq": func(r *receipt.Receipt) { r.Seq++ },
		"epoch": func(r *receipt.Receipt) { r.Epoch++ }, "hash": func(r *receipt.Receipt) { r.MessageHash[0]++ },
		"previous": func(r *receipt.Receipt) { r.Previous[0]++ }, "ticket": func(r *receipt.Receipt) { r.Ticket[0]++ },
	} {
		r := r
		change(&r)
		r.Sign(key(2))
		_, _, err := receipt.CheckTerm(r.Marshal(), c.Marshal(), group)
		require.ErrorIs(t, err, receipt.ErrChain, name)
	}
	r.Sign(key(1))
	_, _, err = receipt.CheckTerm(r.Marshal(), c.Marshal(), group)
	require.ErrorIs(t, err, receipt.ErrForged)
}

// TestMoveEndsItsTerm: after a move comes nothing but a term, or the reopen of a disputed one.
func TestMoveEndsItsTerm(t *testing.T) {
	open := signed(openReceipt())
	move := signed(after(open, 1), func(r *receipt.Receipt) { r.Kind = receipt.KindMove })
	c, _, err := receipt.Start(open, group, [32]byte(public(1)))
	require.NoError(t, err)
	c, _, err = c.Next(move)
	require.NoError(t, err)
	require.True(t, c.Moved)
	_, _, err = c.Next(signed(after(move, 2)))
	require.ErrorIs(t, err, receipt.ErrChain)
	reopen := signed(after(move, 2), func(r *receipt.Receipt) { r.Kind = receipt.KindReopen })
	c, _, err = c.Next(reopen)
	require.NoError(t, err)
	_, _, err = c.Next(signed(after(reopen, 3)))
	require.NoError(t, err)
}

func TestReopening(t *testing.T) {
	d := dispute()
	body := receipt.MarshalReopening([][]byte{d.Marshal(), d.Marshal()})
	got, err := receipt.ParseReopening(body)
	require.NoError(t, err)
	require.Equal(t, []receipt.Dispute{d, d}, got)
	many := make([][]byte, receipt.MaxDisputes+1)
	for i := range many {
		many[i] = d.Marshal()
	}
	for name, b := range map[string][]byte{"none": nil, "cut": body[:len(body)-1], "a byte after": append(bytes.Clone(body), 0), "too many": receipt.MarshalReopening(many)} {
		_, err := receipt.ParseReopening(b)
		require.Error(t, err, name)
	}
}

func TestLeasesAndMoves(t *testing.T) {
	ticket, lease := key(5), key(6)
	pub, leaseKey := [32]byte(public(5)), [32]byte(public(6))
	asked := receipt.SignLease(ticket, group, 1, 4, leaseKey)
	require.True(t, receipt.VerifyLease(pub, group, 1, 4, leaseKey, asked))
	require.False(t, receipt.VerifyLease(pub, group, 2, 4, leaseKey, asked))
	require.False(t, receipt.VerifyLease(pub, group, 1, 5, leaseKey, asked))
	require.False(t, receipt.VerifyLease(pub, []byte("x"), 1, 4, leaseKey, asked))
	require.False(t, receipt.VerifyLease(pub, group, 1, 4, pub, asked))
	submit := receipt.SignSubmit(ticket, group, 1, 4, []byte("commit"), [32]byte{1})
	with := receipt.SignLeased(lease, submit)
	require.True(t, receipt.VerifyLeased(leaseKey, submit, with))
	require.False(t, receipt.VerifyLeased(leaseKey, asked, with))
	require.False(t, receipt.VerifyLeased(pub, submit, with))

	n := receipt.NextHub{Hub: "https://b.example", Key: leaseKey}
	move := receipt.SignMove(ticket, group, 1, 4, []byte("commit"), n)
	require.True(t, receipt.VerifyMove(pub, group, 1, 4, []byte("commit"), n, move))
	require.False(t, receipt.VerifyMove(pub, group, 1, 4, []byte("other"), n, move))
	require.False(t, receipt.VerifyMove(pub, group, 1, 4, []byte("commit"), receipt.NextHub{Hub: "https://c.example", Key: leaseKey}, move))
	path := receipt.NextHub{Hub: "https://b.example/x", Key: leaseKey}
	require.False(t, receipt.VerifyMove(pub, group, 1, 4, []byte("commit"), path, receipt.SignMove(ticket, group, 1, 4, []byte("commit"), path)))
}

func TestEvidence(t *testing.T) {
	url := receipt.ConversationURL("https://a.example", group)
	open := signed(openReceipt())
	one, two := signed(after(open, 1)), signed(after(open, 1), func(r *receipt.Receipt) { r.Ticket[0]++ })
	hub := [32]byte(public(1))
	e, err := receipt.FindEvidence(url, hub, one, two)
	require.NoError(t, err)
	other, err := receipt.FindEvidence(url, hub, two, one)
	require.NoError(t, err)
	require.Equal(t, e, other, "one proof, one text")
	got, err := receipt.ParseEvidence(e.Marshal())
	require.NoError(t, err)
	require.Equal(t, e, got)
	a, b, err := got.Verify(hub)
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 1}, []uint64{a.Seq, b.Seq})
	_, _, err = got.Verify([32]byte(public(2)))
	require.Error(t, err)
	for name, x := range map[string][3]any{
		"the same": {url, one, one}, "two places": {url, open, one}, "another conversation": {receipt.ConversationURL("https://a.example", []byte("b")), one, two},
		"no conversation": {"https://a.example", one, two},
	} {
		_, err := receipt.FindEvidence(x[0].(string), hub, x[1].([]byte), x[2].([]byte))
		require.Error(t, err, name)
	}
	text := string(e.Marshal())
	for _, spoilt := range []string{"", text[:len(text)-1], text + "\n", "x" + text, string(bytes.Replace([]byte(text), []byte("\n"), []byte("\r\n"), 1)), text + string(make([]byte, receipt.MaxEvidence))} {
		_, err := receipt.ParseEvidence([]byte(spoilt))
		require.Error(t, err)
	}
	require.Equal(t, sha256.Sum256([]byte("x")), receipt.BodyHash([]byte("x")))
}

func FuzzParseDispute(f *testing.F) {
	f.Add(dispute().Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := receipt.ParseDispute(b); err == nil {
			require.Equal(t, b, d.Marshal())
		}
	})
}

func FuzzParseReopening(f *testing.F) {
	f.Add(receipt.MarshalReopening([][]byte{dispute().Marshal()}))
	f.Fuzz(func(t *testing.T, b []byte) {
		disputes, err := receipt.ParseReopening(b)
		if err != nil {
			return
		}
		var raw [][]byte
		for _, d := range disputes {
			raw = append(raw, d.Marshal())
		}
		require.Equal(t, b, receipt.MarshalReopening(raw))
	})
}

func FuzzParseClaim(f *testing.F) {
	f.Add(claim().Marshal())
	f.Add(claim("a", "b").Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := receipt.ParseClaim(b); err == nil {
			require.Equal(t, b, c.Marshal())
			require.LessOrEqual(t, len(c.Signatures), receipt.MaxSignatures)
		}
	})
}

func FuzzParseEvidence(f *testing.F) {
	open := signed(openReceipt())
	e, err := receipt.FindEvidence(receipt.ConversationURL("https://a.example", group), [32]byte(public(1)),
		open, signed(openReceipt(), func(r *receipt.Receipt) { r.Time++ }))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := receipt.ParseEvidence(b); err == nil {
			require.Equal(t, b, e.Marshal())
			_, _, _ = e.Verify([32]byte(ed25519.PublicKey(e.HubKey[:])))
		}
	})
}
