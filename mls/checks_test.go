package mls

import (
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
	t.Run("external senders", func(t *testing.T) {
		alice, service := newParty(t, "alice"), newParty(t, "service")
		alice.create(Extension{ExtensionExternalSenders, []byte{3, 1, 2}})
		m, err := ProposeExternally(alice.suite, service.signer, 0, alice.g.GroupID(), alice.g.Epoch(), RemoveProposal(0))
		require.NoError(t, err)
		_, err = alice.process(m)
		requireRule(t, err, "external senders extension")
	})
	t.Run("suite of a welcome", func(t *testing.T) {
		alice, bob := newParty(t, "alice"), newParty(t, "bob")
		alice.create()
		p := alice.commit(CommitParams{Proposals: []Proposal{AddProposal(bob.keyPackage().KeyPackage())}})
		other := newPartyOf(t, X25519ChaCha20Poly1305SHA256Ed25519, "bob")
		_, err := JoinWelcome(parsed(t, p.Welcome()), JoinParams{KeyPackage: other.keyPackage(), Signer: other.signer})
		requireRule(t, err, "welcome is of another suite than the key package")
	})
	t.Run("keys of a welcome", func(t *testing.T) {
		secrets := &groupSecrets{psks: make([]preSharedKeyID, maxPSKs+1)}
		_, _, err := secrets.pskSecret(suites[1], JoinParams{})
		requireRule(t, err, "pre-shared keys in a welcome")
	})
	t.Run("update of ours", func(t *testing.T) {
		all := newGroup(t, FramePublic, "alice", "bob")
		alice, bob := all[0], all[1]
		m, err := alice.g.ProposeUpdate(rand.Reader, FramePublic, nil)
		require.NoError(t, err)
		bob.receiveProposal(m)
		p := bob.commit(CommitParams{})
		alice.g.updates = nil
		_, err = alice.process(p.Message())
		requireRule(t, err, "update of ours whose key we do not have")
	})
	t.Run("members", func(t *testing.T) {
		leaf := &newParty(t, "x").keyPackage().public.Leaf
		full := &ratchetTree{suite: suites[1], nodes: make([]node, nodeWidth(maxMembers)), hashes: make([][]byte, nodeWidth(maxMembers))}
		for i := 0; i < len(full.nodes); i += 2 {
			full.nodes[i].leaf = leaf
		}
		_, err := full.add(leaf)
		requireRule(t, err, "members")
	})
}

func TestRestOfTheSuccessorChecks(t *testing.T) {
	all := newGroup(t, FramePrivate, "alice", "bob")
	alice, bob := all[0], all[1]
	liar, err := UnmarshalGroup(alice.g.Marshal())
	require.NoError(t, err)
	liar.reInit = &reInit{groupID: []byte("next"), version: version10, suite: alice.suite}
	kp := bob.keyPackage()
	g, err := liar.Reinitialize(rand.Reader, alice.successorOf(kp))
	require.NoError(t, err)
	_, err = JoinWelcome(parsed(t, g.Pending().Welcome()), JoinParams{KeyPackage: kp, Signer: bob.signer, From: bob.g})
	requireRule(t, err, "re-initialization of a group that is open")

	const other = X25519ChaCha20Poly1305SHA256Ed25519
	liar.reInit, liar.suite = nil, suites[other]
	newAlice, newBob := newPartyOf(t, other, "alice"), newPartyOf(t, other, "bob")
	kp = newBob.keyPackage()
	g, err = liar.Branch(rand.Reader, []byte("aside"), nil, newAlice.successorOf(kp))
	require.NoError(t, err)
	_, err = JoinWelcome(parsed(t, g.Pending().Welcome()), JoinParams{KeyPackage: kp, Signer: newBob.signer, From: bob.g})
	requireRule(t, err, "branch of another suite")
}

// TestChecksAreWrittenDown keeps the page of all checks and the code together: every refusal has its row, and a test that is there.
func TestChecksAreWrittenDown(t *testing.T) {
	page, err := os.ReadFile("../spec/mls-checks.md")
	require.NoError(t, err)
	rows := map[string]string{}
	for _, row := range regexp.MustCompile(`(?m)^\| M(\d+) \| (.*?) \| (.*?) \|$`).FindAllStringSubmatch(string(page), -1) {
		require.NotContains(t, rows, row[2])
		rows[row[2]] = row[3]
	}
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
	for check := range checks {
		if rows[check] == "" {
			t.Errorf("spec/mls-checks.md has no row for %q", check)
		}
	}
	for check, test := range rows {
		if !checks[check] {
			t.Errorf("spec/mls-checks.md has a row for %q, which the code does not know", check)
		}
		for _, name := range regexp.MustCompile(`Test\w+`).FindAllString(test, -1) {
			if !strings.Contains(tests.String(), "\nfunc "+name+"(") {
				t.Errorf("spec/mls-checks.md names %s, which is not there", name)
			}
		}
	}
}
