// Package tsmls_test talks MLS with ts-mls, another implementation, in both roles and all suites: what our own members agree on
// among themselves could still be wrong.
package tsmls_test

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/mls"
)

// peers makes sure that ts-mls is here, in the version that the lock file names.
func peers(t *testing.T) {
	t.Helper()
	missing := func(what string, err error) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s: %v", what, err)
		}
		t.Skipf("SKIPPED, NOT PASSED: %s: %v; it needs Node.js 20, npm and a registry", what, err)
	}
	if _, err := exec.LookPath("node"); err != nil {
		missing("finding node", err)
	}
	if _, err := os.Stat("node_modules/ts-mls"); err == nil {
		return
	}
	if out, err := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts").CombinedOutput(); err != nil {
		missing("npm ci: "+string(out), err)
	}
}

// A peer is one member, played by ts-mls in a process of its own.
type peer struct {
	t          *testing.T
	in         io.Writer
	out        *bufio.Reader
	keyPackage []byte // MLSMessage
}

type answer struct {
	KeyPackage    []byte `json:"keyPackage"`
	Commit        []byte `json:"commit"`
	Welcome       []byte `json:"welcome"`
	Message       []byte `json:"message"`
	Data          []byte `json:"data"`
	Authenticator []byte `json:"authenticator"`
	Epoch         uint64 `json:"epoch"`
	Error         string `json:"error"`
}

func newPeer(t *testing.T, cs mls.CipherSuite, name string) *peer {
	cmd := exec.Command("node", "peer.mjs")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	p := &peer{t: t, in: in, out: bufio.NewReaderSize(out, 1<<20)}
	p.keyPackage = p.call("start", map[string]any{"suite": cs.String(), "identity": []byte(name), "now": time.Now().Unix()}).KeyPackage
	return p
}

func (p *peer) call(op string, args map[string]any) answer {
	p.t.Helper()
	a := p.try(op, args)
	require.Empty(p.t, a.Error, op)
	return a
}

func (p *peer) try(op string, args map[string]any) (a answer) {
	p.t.Helper()
	request := map[string]any{"op": op}
	for k, v := range args {
		request[k] = v
	}
	line, err := json.Marshal(request)
	require.NoError(p.t, err)
	_, err = p.in.Write(append(line, '\n'))
	require.NoError(p.t, err)
	line, err = p.out.ReadBytes('\n')
	require.NoError(p.t, err)
	require.NoError(p.t, json.Unmarshal(line, &a))
	return a
}

// A member is ours.
type member struct {
	t      *testing.T
	cs     mls.CipherSuite
	name   string
	signer *mls.SignatureKey
	g      *mls.Group
}

func newMember(t *testing.T, cs mls.CipherSuite, name string) *member {
	signer, err := mls.GenerateSignatureKey(cs, rand.Reader)
	require.NoError(t, err)
	return &member{t: t, cs: cs, name: name, signer: signer}
}

func lifetime() mls.Lifetime {
	now := uint64(time.Now().Unix())
	return mls.Lifetime{NotBefore: now - 3600, NotAfter: now + 86400}
}

func (m *member) keyPackage() (*mls.KeyPackageSecret, []byte) {
	kp, err := mls.NewKeyPackage(rand.Reader, mls.KeyPackageParams{Suite: m.cs, Signer: m.signer, Credential: mls.BasicCredential([]byte(m.name)), Lifetime: lifetime()})
	require.NoError(m.t, err)
	return kp, append([]byte{0, 1, 0, byte(mls.WireKeyPackage)}, kp.KeyPackage().Marshal()...)
}

func (m *member) create() {
	var err error
	m.g, err = mls.NewGroup(rand.Reader, mls.GroupParams{
		Suite: m.cs, GroupID: []byte("group"), Signer: m.signer, Credential: mls.BasicCredential([]byte(m.name)), Lifetime: lifetime(),
	})
	require.NoError(m.t, err)
}

func (m *member) parse(raw []byte) *mls.Message {
	m.t.Helper()
	parsed, err := mls.ParseMessage(raw)
	require.NoError(m.t, err)
	return parsed
}

func (m *member) commit(framing mls.WireFormat, proposals ...mls.Proposal) *mls.PendingCommit {
	m.t.Helper()
	p, err := m.g.Commit(rand.Reader, mls.CommitParams{Proposals: proposals, Framing: framing, Now: time.Now()})
	require.NoError(m.t, err)
	require.NoError(m.t, m.g.ConfirmPending())
	return p
}

func (m *member) process(raw []byte) mls.Processed {
	m.t.Helper()
	p, err := m.g.Process(m.parse(raw), time.Now())
	require.NoError(m.t, err)
	if staged, ok := p.(*mls.StagedCommit); ok {
		require.NoError(m.t, m.g.Apply(staged))
	}
	return p
}

func (m *member) join(kp *mls.KeyPackageSecret, welcome []byte) {
	m.t.Helper()
	j, err := mls.JoinWelcome(m.parse(welcome), mls.JoinParams{KeyPackage: kp, Signer: m.signer})
	require.NoError(m.t, err)
	m.g = j.Group()
}

// agree compares epochs and sends a message each way.
func agree(t *testing.T, m *member, all ...*peer) {
	t.Helper()
	for _, p := range all {
		a := p.call("authenticator", nil)
		require.Equal(t, m.g.Epoch(), a.Epoch)
		require.Equal(t, m.g.EpochAuthenticator(), a.Authenticator)
	}
	for _, p := range all {
		raw := p.call("send", map[string]any{"data": []byte("from a peer")}).Message
		require.Equal(t, "from a peer", string(m.process(raw).(*mls.ApplicationMessage).Data))
		for _, other := range all {
			if other != p {
				require.Equal(t, "from a peer", string(other.call("process", map[string]any{"message": raw}).Data))
			}
		}
	}
	raw, err := m.g.Encrypt(rand.Reader, []byte("from us"), nil, func(n int) int { return (n + 255) / 256 * 256 })
	require.NoError(t, err)
	for _, p := range all {
		require.Equal(t, "from us", string(p.call("process", map[string]any{"message": raw}).Data))
	}
}

func (m *member) added(raw []byte) mls.Proposal { return mls.AddProposal(m.parse(raw).KeyPackage()) }

func TestTSMLS(t *testing.T) {
	peers(t)
	for cs := mls.CipherSuite(1); cs <= 7; cs++ {
		t.Run(cs.String(), func(t *testing.T) {
			t.Run("we create", func(t *testing.T) { weCreate(t, cs, mls.WirePrivateMessage) })
			t.Run("they create", func(t *testing.T) { theyCreate(t, cs, false) })
			if cs == 1 {
				t.Run("we create, in public", func(t *testing.T) { weCreate(t, cs, mls.WirePublicMessage) })
				t.Run("they create, in public", func(t *testing.T) { theyCreate(t, cs, true) })
			}
		})
	}
}

func weCreate(t *testing.T, cs mls.CipherSuite, framing mls.WireFormat) {
	asPublic := framing == mls.WirePublicMessage
	alice, bob, carol := newMember(t, cs, "alice"), newPeer(t, cs, "bob"), newPeer(t, cs, "carol")
	alice.create()
	c := alice.commit(framing, alice.added(bob.keyPackage))
	bob.call("join", map[string]any{"welcome": c.Welcome()})
	agree(t, alice, bob)

	c = alice.commit(framing, alice.added(carol.keyPackage))
	bob.call("process", map[string]any{"message": c.Message()})
	carol.call("join", map[string]any{"welcome": c.Welcome()})
	agree(t, alice, bob, carol)

	c = alice.commit(framing) // a path
	bob.call("process", map[string]any{"message": c.Message()})
	carol.call("process", map[string]any{"message": c.Message()})
	theirs := bob.call("update", map[string]any{"asPublic": asPublic}).Commit
	alice.process(theirs)
	carol.call("process", map[string]any{"message": theirs})
	agree(t, alice, bob, carol)

	// A proposal of theirs by reference, committed by us.
	proposed := bob.call("proposeRemove", map[string]any{"leaf": 2, "asPublic": asPublic}).Message
	require.Equal(t, mls.ProposalRemove, alice.process(proposed).(*mls.ReceivedProposal).Type)
	c = alice.commit(framing)
	bob.call("process", map[string]any{"message": c.Message()})
	agree(t, alice, bob)
	require.Len(t, alice.g.Members(), 2)

	c = alice.commit(framing, mls.RemoveProposal(1))
	require.NotEmpty(t, bob.try("process", map[string]any{"message": []byte("garbage")}).Error)
	bob.call("process", map[string]any{"message": c.Message()})
	require.NotEmpty(t, bob.try("send", map[string]any{"data": []byte("still here")}).Error, "they know that they are out")
	require.Len(t, alice.g.Members(), 1)
}

func theyCreate(t *testing.T, cs mls.CipherSuite, asPublic bool) {
	framing := mls.WirePrivateMessage
	if asPublic {
		framing = mls.WirePublicMessage
	}
	alice, bob, carol := newPeer(t, cs, "alice"), newMember(t, cs, "bob"), newPeer(t, cs, "carol")
	alice.call("create", map[string]any{"group": []byte("group")})
	kp, raw := bob.keyPackage()
	c := alice.call("add", map[string]any{"keyPackages": [][]byte{raw}, "asPublic": asPublic})
	bob.join(kp, c.Welcome)
	agree(t, bob, alice)

	ours := bob.commit(framing, bob.added(carol.keyPackage))
	alice.call("process", map[string]any{"message": ours.Message()})
	carol.call("join", map[string]any{"welcome": ours.Welcome()})
	agree(t, bob, alice, carol)

	c = carol.call("update", map[string]any{"asPublic": asPublic})
	alice.call("process", map[string]any{"message": c.Commit})
	bob.process(c.Commit)
	ours = bob.commit(framing)
	alice.call("process", map[string]any{"message": ours.Message()})
	carol.call("process", map[string]any{"message": ours.Message()})
	agree(t, bob, alice, carol)

	// We propose, they commit.
	proposed, err := bob.g.Propose(rand.Reader, mls.RemoveProposal(2), framing, nil)
	require.NoError(t, err)
	alice.call("process", map[string]any{"message": proposed})
	c = alice.call("update", map[string]any{"asPublic": asPublic})
	bob.process(c.Commit)
	agree(t, bob, alice)

	// They remove us.
	c = alice.call("remove", map[string]any{"leaf": bob.g.OwnLeaf(), "asPublic": asPublic})
	bob.process(c.Commit)
	require.True(t, bob.g.Removed())
}
