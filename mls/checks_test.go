package mls

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRestOfTheChecks are checks that no other test breaks.
func TestRestOfTheChecks(t *testing.T) {
	t.Run("M8 external senders that are cut off", func(t *testing.T) {
		alice, service := newParty(t, "alice"), newParty(t, "service")
		alice.create(Extension{ExtensionExternalSenders, []byte{3, 1, 2}})
		m, err := ProposeExternally(alice.suite, service.signer, 0, alice.g.GroupID(), alice.g.Epoch(), RemoveProposal(0))
		require.NoError(t, err)
		_, err = alice.process(m)
		requireCheck(t, err)
	})
	t.Run("M18 welcome of another suite than the key package", func(t *testing.T) {
		alice, bob := newParty(t, "alice"), newParty(t, "bob")
		alice.create()
		p := alice.commit(CommitParams{Proposals: []Proposal{AddProposal(bob.keyPackage().KeyPackage())}})
		other := newPartyOf(t, X25519ChaCha20Poly1305SHA256Ed25519, "bob")
		_, err := JoinWelcome(parsed(t, p.Welcome()), JoinParams{KeyPackage: other.keyPackage(), Signer: other.signer})
		requireCheck(t, err)
	})
	t.Run("M21 too many pre-shared keys in a welcome", func(t *testing.T) {
		secrets := &groupSecrets{psks: make([]preSharedKeyID, maxPSKs+1)}
		_, _, err := secrets.pskSecret(suites[1], JoinParams{})
		requireCheck(t, err)
	})
	t.Run("M6 external sender of a group that has none", func(t *testing.T) {
		alice, service := newParty(t, "alice"), newParty(t, "service")
		alice.create()
		m, err := ProposeExternally(alice.suite, service.signer, 0, alice.g.GroupID(), alice.g.Epoch(), RemoveProposal(0))
		require.NoError(t, err)
		_, err = alice.process(m)
		requireCheck(t, err)
	})
	t.Run("M8 external senders with a byte too many", func(t *testing.T) {
		alice, service := newParty(t, "alice"), newParty(t, "service")
		list := ExternalSendersExtension(ExternalSender{service.signer.Public(), BasicCredential([]byte("s"))})
		alice.create(Extension{ExtensionExternalSenders, append(list.Data, 0)})
		m, err := ProposeExternally(alice.suite, service.signer, 0, alice.g.GroupID(), alice.g.Epoch(), RemoveProposal(0))
		require.NoError(t, err)
		_, err = alice.process(m)
		requireCheck(t, err)
	})
	all := newGroup(t, WirePublicMessage, "alice", "bob")
	t.Run("M100 path that has nothing for us", func(t *testing.T) {
		// Second lines, called directly: a path whose secrets are counted has one for each of us, in a node above us.
		tree, path := mergedPath(t, all[0])
		_, _, err := tree.openPath(path.steps, &path.path, all[1].g.own, privateKeys{}, nil, nil)
		requireCheck(t, err)
	})
	t.Run("M101 path that does not reach us", func(t *testing.T) {
		tree, path := mergedPath(t, all[0])
		_, _, err := tree.openPath(nil, &path.path, all[1].g.own, all[1].g.private, nil, nil)
		requireCheck(t, err)
	})
	t.Run("M86 one member too many", func(t *testing.T) {
		leaf := &newParty(t, "x").keyPackage().public.Leaf
		full := &ratchetTree{suite: suites[1], nodes: make([]node, nodeWidth(maxMembers)), hashes: make([][]byte, nodeWidth(maxMembers))}
		for i := 0; i < len(full.nodes); i += 2 {
			full.nodes[i].leaf = leaf
		}
		_, err := full.add(leaf)
		requireCheck(t, err)
	})
}

// mergedPath is a path of p, and the tree that it is in.
func mergedPath(t *testing.T, p *party) (*ratchetTree, *newPath) {
	tree := p.g.tree.clone()
	path, err := tree.makePath(rand.Reader, p.g.own, *p.g.tree.leaf(p.g.own), p.signer, p.g.context.groupID)
	require.NoError(t, err)
	require.NoError(t, path.encrypt(rand.Reader, tree, nil, nil))
	return tree, path
}

func TestRestOfTheSuccessorChecks(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	kp := bob.keyPackage()
	join := func(g *Group) error {
		_, err := JoinWelcome(parsed(t, g.Pending().Welcome()), JoinParams{KeyPackage: kp, Signer: bob.signer, From: bob.g})
		return err
	}
	t.Run("M81 re-initialization of a group that is open", func(t *testing.T) {
		liar := reloadedOf(alice)
		liar.reInit = &reInit{groupID: []byte("next"), version: version10, suite: alice.suite}
		g, err := liar.Reinitialize(rand.Reader, alice.successorOf(kp))
		require.NoError(t, err)
		requireCheck(t, join(g))
	})
	t.Run("M80 branch of another suite", func(t *testing.T) {
		const other = X25519ChaCha20Poly1305SHA256Ed25519
		liar := reloadedOf(alice)
		liar.suite = suites[other]
		newAlice, newBob := newPartyOf(t, other, "alice"), newPartyOf(t, other, "bob")
		kp := newBob.keyPackage()
		g, err := liar.Branch(rand.Reader, []byte("aside"), nil, newAlice.successorOf(kp))
		require.NoError(t, err)
		_, err = JoinWelcome(parsed(t, g.Pending().Welcome()), JoinParams{KeyPackage: kp, Signer: newBob.signer, From: bob.g})
		requireCheck(t, err)
	})
	t.Run("M77 branch with a stranger in its tree", func(t *testing.T) {
		stranger := newParty(t, "mallory")
		liar := reloadedOf(alice)
		leaf := *liar.tree.leaf(1)
		leaf.Credential = stranger.params().Credential
		liar.tree.set(leafIndex(1).node(), node{leaf: &leaf}) // she tells herself that mallory is a member
		params := alice.successorOf(stranger.keyPackage())
		g, err := liar.Branch(rand.Reader, []byte("aside"), nil, params)
		require.NoError(t, err)
		g.DropPending()
		psk := Proposal{Type: ProposalPreSharedKey, psk: &preSharedKeyID{
			PSK: PSK{Usage: ResumptionBranch, GroupID: alice.g.GroupID(), Epoch: alice.g.Epoch()}, nonce: make([]byte, 32),
		}}
		g.resumes, g.psks = ResumptionBranch, func(PSK) ([]byte, bool) { return alice.g.secrets.resumption, true }
		_, err = g.Commit(rand.Reader, CommitParams{Now: testNow, Proposals: []Proposal{
			psk, AddProposal(stranger.keyPackage().KeyPackage()), AddProposal(kp.KeyPackage()),
		}})
		require.NoError(t, err)
		requireCheck(t, join(g))
	})
	t.Run("M79 branch that is an epoch old", func(t *testing.T) {
		g, err := alice.g.Branch(rand.Reader, []byte("aside"), nil, alice.successorOf())
		require.NoError(t, err)
		require.NoError(t, g.ConfirmPending())
		psk := Proposal{Type: ProposalPreSharedKey, psk: &preSharedKeyID{
			PSK: PSK{Usage: ResumptionBranch, GroupID: alice.g.GroupID(), Epoch: alice.g.Epoch()}, nonce: make([]byte, 32),
		}}
		g.resumes, g.psks = ResumptionBranch, func(PSK) ([]byte, bool) { return alice.g.secrets.resumption, true }
		_, err = g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{psk, AddProposal(kp.KeyPackage())}, Now: testNow})
		require.NoError(t, err)
		requireCheck(t, join(g))
	})
	t.Run("M22 welcome with two groups that it comes from", func(t *testing.T) {
		branch := preSharedKeyID{PSK: PSK{Usage: ResumptionBranch, GroupID: alice.g.GroupID(), Epoch: alice.g.Epoch()}, nonce: make([]byte, 32)}
		again := branch
		again.nonce = bytes.Repeat([]byte{1}, 32)
		secrets := &groupSecrets{psks: []preSharedKeyID{branch, again}}
		_, _, err := secrets.pskSecret(alice.g.suite, JoinParams{From: bob.g})
		requireCheck(t, err)
	})
}

// TestChecksAreWrittenDown keeps the page of all checks and the code together: every refusal has its row, and a test that is there.
func TestChecksAreWrittenDown(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var tests strings.Builder
	checks := map[string]bool{}
	for _, f := range files {
		code, err := os.ReadFile(f)
		require.NoError(t, err)
		if strings.HasSuffix(f, "_test.go") {
			tests.Write(code)
			continue
		}
		for _, m := range regexp.MustCompile(`invalid\(\s*"((?:[^"\\]|\\.)*)"`).FindAllStringSubmatch(string(code), -1) {
			checks[m[1]] = true
		}
	}
	require.Greater(t, len(checks), 90)
	words := map[string]bool{}
	for number, row := range checkPage() {
		require.False(t, words[row.words], "spec/mls-checks.md has two rows for %q", row.words)
		words[row.words] = true
		if !checks[row.words] {
			t.Errorf("spec/mls-checks.md has a row %s for %q, which the code does not know", number, row.words)
		}
		for _, name := range regexp.MustCompile(`Test\w+`).FindAllString(row.tests, -1) {
			if !strings.Contains(tests.String(), "\nfunc "+name+"(") {
				t.Errorf("spec/mls-checks.md names %s, which is not there", name)
			}
		}
	}
	for check := range checks {
		if !words[check] {
			t.Errorf("spec/mls-checks.md has no row for %q", check)
		}
	}
}
