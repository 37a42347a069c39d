package main

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/mls/interop/harness"
)

// Extensions of a GroupContext that everybody knows: required capabilities without any, and no external senders.
var (
	requiring = &harness.Extension{ExtensionType: uint32(mls.ExtensionRequiredCapabilities), ExtensionData: []byte{0, 0, 0}}
	nobody    = &harness.Extension{ExtensionType: uint32(mls.ExtensionExternalSenders), ExtensionData: []byte{0}}
)

// The same ground that the working group's scenarios cover, and some beside it: who is added together with what else happens, newcomers
// who go on, several external senders.
var scenarios = []struct {
	name string
	play func(s *script)
}{
	{"welcome", func(s *script) { s.welcome(change{}) }},
	{"welcome with a path", func(s *script) { s.welcome(change{path: true}) }},
	{"welcome without the tree", func(s *script) { s.welcome(change{outside: true, path: true}) }},
	{"welcome with a key", func(s *script) {
		s.create("alice")
		add := s.adding("bob")
		s.share("door", "alice", "bob")
		refs := [][]byte{s.propose("alice", add[0]), s.propose("alice", bringing("door"))}
		s.commit("alice", change{refs: refs, joins: []string{"bob"}})
	}},

	{"messages out of order", func(s *script) {
		s.create("alice", "bob", "carol")
		one, two, three := s.send("alice", "one"), s.send("alice", ""), s.send("alice", "three")
		s.read(three)
		s.read(one)
		s.read(two)
	}},
	{"messages across epochs", func(s *script) {
		s.create("alice", "bob", "carol")
		one, two, other := s.send("alice", "one"), s.send("alice", "two"), s.send("carol", "other")
		s.commit("alice", change{})
		three, four := s.send("alice", "three"), s.send("alice", "four")
		for _, l := range []letter{four, two, other, three, one} {
			s.read(l)
		}
	}},

	{"an empty commit", func(s *script) {
		s.create("alice", "bob", "carol")
		s.commit("bob", change{})
	}},
	{"adds", func(s *script) { s.adds() }},
	{"removes", func(s *script) {
		s.create("alice", "bob", "carol", "dave", "erin", "frank")
		refs := [][]byte{s.propose("bob", removing("carol")[0]), s.propose("alice", removing("dave")[0])}
		s.commit("alice", change{refs: refs, values: removing("frank"), leaves: []string{"carol", "dave", "frank"}})
		s.commit("erin", change{values: removing("bob"), leaves: []string{"bob"}})
		s.commit("alice", change{values: s.adding("gina", "hugo"), joins: []string{"gina", "hugo"}}) // where others have been
	}},
	{"updates", func(s *script) {
		s.create("alice", "bob", "carol", "dave")
		s.commit("alice", change{refs: [][]byte{s.update("bob"), s.update("dave")}})
		s.commit("bob", change{refs: [][]byte{s.update("alice")}})
	}},
	{"group context extensions", func(s *script) {
		s.create("alice", "bob")
		s.commit("alice", change{refs: [][]byte{s.propose("alice", extending(requiring, nobody))}})
		s.commit("alice", change{refs: [][]byte{s.propose("bob", extending())}})
		s.commit("bob", change{values: []*harness.ProposalDescription{extending(requiring)}})
	}},
	{"external keys", func(s *script) { s.externalKeys() }},
	{"keys of past epochs", func(s *script) {
		s.create("alice", "bob", "carol")
		s.commit("alice", change{})
		s.commit("bob", change{path: true})
		refs := [][]byte{s.propose("alice", resuming(1)), s.propose("bob", resuming(2))}
		s.commit("carol", change{refs: refs, values: []*harness.ProposalDescription{resuming(3)}})
	}},
	{"everything at once", func(s *script) { s.everything() }},

	{"external join", func(s *script) {
		s.create("alice")
		s.enter("alice", "bob", entry{})
		s.enter("bob", "carol", entry{})
		s.commit("carol", change{values: removing("alice"), leaves: []string{"alice"}})
	}},
	{"external join without the tree", func(s *script) {
		s.create("alice", "bob", "carol", "dave")
		s.enter("dave", "erin", entry{outside: true})
	}},
	{"external join with keys", func(s *script) {
		s.create("alice", "bob")
		s.share("door", "alice", "bob")
		s.share("gate", "alice", "bob")
		s.enter("alice", "carol", entry{psks: []string{"door", "gate"}})
	}},
	{"resync", func(s *script) {
		s.create("alice", "bob", "carol")
		s.enter("alice", "bob", entry{resync: true})
		s.enter("bob", "alice", entry{resync: true, outside: true})
		s.commit("alice", change{refs: [][]byte{s.update("bob")}})
	}},

	{"a newcomer proposes itself", func(s *script) {
		s.create("alice", "bob")
		s.commit("alice", change{refs: [][]byte{s.apply("carol", "bob")}, joins: []string{"carol"}})
	}},
	{"an external signer", func(s *script) { s.externalSigner() }},
	{"two external signers", func(s *script) {
		s.create("alice", "bob", "carol", "dave")
		s.signer("warden", "alice")
		s.signer("porter", "bob")
		refs := [][]byte{s.suggest("porter", removing("carol")[0]), s.suggest("warden", removing("dave")[0])}
		s.commit("alice", change{refs: refs, leaves: []string{"carol", "dave"}})
	}},

	{"re-initialization", func(s *script) {
		s.create("alice", "bob", "carol", "dave")
		s.restart(restart{proposer: "alice", committer: "bob", founder: "carol", otherID: true})
	}},
	{"re-initialization in another suite", func(s *script) {
		s.create("alice", "bob", "carol")
		s.restart(restart{proposer: "alice", committer: "bob", founder: "carol", suite: s.another()})
		s.restart(restart{proposer: "bob", committer: "bob", founder: "bob", otherID: true, path: true})
	}},
	{"re-initialization with the rest", func(s *script) {
		s.create("alice", "bob", "carol")
		s.restart(restart{
			proposer: "alice", committer: "alice", founder: "alice", path: true, outside: true, extensions: []*harness.Extension{requiring, nobody},
		})
	}},
	{"re-initialization from outside", func(s *script) {
		s.create("alice", "bob", "carol")
		s.signer("warden", "alice")
		s.groupID = append(s.groupID, "again"...)
		p := s.suggest("warden", &harness.ProposalDescription{
			ProposalType: []byte(typeReInit), GroupId: s.groupID, CipherSuite: s.another(), Extensions: []*harness.Extension{requiring},
		})
		s.restart(restart{proposal: p, committer: "alice", founder: "bob", suite: s.another(), path: true})
	}},

	{"branch", func(s *script) {
		s.create("alice", "bob", "carol", "dave")
		s.branch("alice", []string{"bob", "carol", "dave"}, false, false)
		s.branch("dave", []string{"alice", "carol"}, true, false, requiring, nobody) // of a branch, and some only
		s.branch("carol", []string{"dave"}, false, true)
	}},
	{"branch beside its group", func(s *script) {
		s.create("alice", "bob", "carol")
		old := map[string]uint32{}
		for _, a := range s.others() {
			old[a.name] = a.state
		}
		s.branch("bob", []string{"carol"}, true, true)
		s.agree()
		for name, state := range old {
			s.actor(name).state = state
		}
		s.members = []string{"alice", "bob", "carol"}
		s.commit("carol", change{})
	}},

	{"history", func(s *script) { s.history(12, false) }},
	{"history with late messages", func(s *script) { s.history(6, true) }},
}

// another suite that all know.
func (s *script) another() uint32 {
	return s.suites[(slices.Index(s.suites, s.suite)+1)%len(s.suites)]
}

func (s *script) welcome(c change) {
	s.create("alice")
	c.refs, c.joins = [][]byte{s.propose("alice", s.adding("bob")[0])}, []string{"bob"}
	s.commit("alice", c)
	c.refs, c.values, c.joins = nil, s.adding("carol", "dave"), []string{"carol", "dave"}
	s.commit("bob", c)
	s.commit("dave", change{})
}

func (s *script) adds() {
	s.create("alice", "bob")
	for i, path := range []bool{true, false} {
		names := []string{fmt.Sprint("carol", i), fmt.Sprint("dave", i), fmt.Sprint("erin", i)}
		add := s.adding(names...)
		refs := [][]byte{s.propose("alice", add[0]), s.propose("bob", add[1])}
		s.commit("alice", change{refs: refs, values: add[2:], joins: names, path: path})
	}
}

func (s *script) externalKeys() {
	s.create("alice", "bob")
	for _, id := range []string{"one", "two", "three"} {
		s.share(id, "alice", "bob")
	}
	for _, path := range []bool{true, false} {
		refs := [][]byte{s.propose("alice", bringing("one")), s.propose("bob", bringing("two"))}
		s.commit("alice", change{refs: refs, values: []*harness.ProposalDescription{bringing("three")}, path: path})
	}
}

func (s *script) everything() {
	s.create("alice", "bob", "carol", "dave", "erin")
	for _, by := range []string{"alice", "bob"} {
		in, also, key := "in with "+by, "also in with "+by, "key of "+by
		add := s.adding(in, also)
		s.share(key, append(slices.Clone(s.members), in, also)...)
		out := s.members[3]
		refs := [][]byte{
			s.propose(by, add[0]), s.propose("carol", removing(out)[0]), s.update("carol"),
			s.propose("carol", bringing(key)), s.propose("alice", extending(requiring)),
		}
		values := []*harness.ProposalDescription{add[1]}
		s.commit(by, change{refs: refs, values: values, joins: []string{in, also}, leaves: []string{out}})
	}
}

func (s *script) externalSigner() {
	s.create("alice", "bob", "carol", "dave")
	s.signer("warden", "alice")
	s.share("key", "alice", "bob", "carol", "dave")
	s.commit("bob", change{refs: [][]byte{s.suggest("warden", bringing("key")), s.suggest("warden", resuming(2))}})
	refs := [][]byte{s.suggest("warden", s.adding("erin")[0]), s.suggest("warden", removing("dave")[0])}
	s.commit("alice", change{refs: refs, joins: []string{"erin"}, leaves: []string{"dave"}})
	s.commit("erin", change{refs: [][]byte{s.suggest("warden", extending(requiring))}}) // and is out of office
}

// A staging is one way to play a scenario.
type staging struct {
	encrypt bool
	first   int // of the peers, the one who plays the first actor
}

// stagings of the i-th scenario: all of them in the first suite, one in the others, so that each is played in some.
func stagings(suite, i, peers int) []staging {
	var all []staging
	for first := range peers {
		all = append(all, staging{true, first}, staging{false, first})
	}
	if suite == 0 || os.Getenv(peersVariable) != "" {
		return all
	}
	at := (suite + i) % len(all)
	return all[at : at+1]
}

func TestScenarios(t *testing.T) {
	peers := connect(t)
	all := common(peers)
	require.NotEmpty(t, all, "the peers have no suite in common")
	for n, cs := range all {
		t.Run(mls.CipherSuite(cs).String(), func(t *testing.T) {
			t.Parallel()
			for i, x := range scenarios {
				for _, how := range stagings(n, i, len(peers)) {
					t.Run(fmt.Sprintf("%s/encrypt=%t,first=%d", x.name, how.encrypt, how.first), func(t *testing.T) {
						casting := func(i int) peer { return peers[(i+how.first)%len(peers)] }
						s := &script{t: t, suite: cs, suites: all, encrypt: how.encrypt, casting: casting, actors: map[string]*actor{}}
						x.play(s)
						s.agree()
						s.free()
					})
				}
			}
		})
	}
}
