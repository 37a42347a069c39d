package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// A caller that does everything wrong gets an error that it can tell apart, no panic, and finds its group as it was.

// typed says whether a caller can tell an error apart.
func typed(err error) bool {
	var inv *InvalidError
	var epoch *WrongEpochError
	if errors.As(err, &inv) || errors.As(err, &epoch) {
		return true
	}
	for _, known := range []error{
		ErrArgument, ErrUnsupported, ErrDecrypt, ErrReplay, ErrTooFarAhead, ErrOwnMessage, ErrWrongGroup, ErrPendingCommit, ErrStale,
		ErrRemoved, ErrStale, ErrReInit, ErrUnknownPSK, errNotForUs, ErrDamaged, errSyntax, errNoRandomness,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// misuses are calls that must fail. want may be nil: any typed error will do.
type misuses map[string]struct {
	call func() error
	want error
}

// refused makes each call of a list, on groups that must stay as they are.
func (list misuses) refused(t *testing.T, groups ...*Group) {
	for name, c := range list {
		t.Run(name, func(t *testing.T) {
			var before [][]byte
			for _, g := range groups {
				before = append(before, g.Marshal())
			}
			var err error
			require.NotPanics(t, func() { err = c.call() })
			require.Error(t, err)
			require.True(t, typed(err), "nobody can tell %q apart", err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			for i, g := range groups {
				require.True(t, bytes.Equal(before[i], g.Marshal()), "the call failed and changed a group")
			}
		})
	}
}

// only is what a call returns besides its error.
func only[T any](_ T, err error) error { return err }

func TestMisuseOfNothing(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob")
	alice, g := all[0], all[0].g
	eve := newParty(t, "eve")
	kp, k := eve.keyPackage(), eve.params()
	kpBytes, groupInfo := kp.KeyPackage(), func() *Message {
		raw, err := g.GroupInfo(true)
		require.NoError(t, err)
		return parsed(t, raw)
	}()
	welcome := parsed(t, alice.aside().commit(CommitParams{Proposals: []Proposal{AddProposal(kpBytes)}}).Welcome())
	group := GroupParams{Suite: k.Suite, GroupID: []byte("g"), Signer: eve.signer, Credential: k.Credential}
	external := ExternalJoinParams{Signer: eve.signer, Credential: k.Credential, Capabilities: k.Capabilities}
	successor := eve.successorOf()
	without := func(p GroupParams, change func(*GroupParams)) GroupParams { change(&p); return p }
	misuses{
		"group of nothing": {func() error { return only(NewGroup(rand.Reader, GroupParams{})) }, ErrUnsupported},
		"group of an unknown suite": {func() error {
			return only(NewGroup(rand.Reader, without(group, func(p *GroupParams) { p.Suite = 99 })))
		}, ErrUnsupported},
		"group without a signer": {func() error {
			return only(NewGroup(rand.Reader, without(group, func(p *GroupParams) { p.Signer = nil })))
		}, ErrArgument},
		"group with an empty signer": {func() error {
			return only(NewGroup(rand.Reader, without(group, func(p *GroupParams) { p.Signer = new(SignatureKey) })))
		}, ErrArgument},
		"group with a signer of P-256": {func() error {
			return only(NewGroup(rand.Reader, without(group, func(p *GroupParams) { p.Signer = newPartyOf(t, 2, "x").signer })))
		}, ErrArgument},
		"group without a credential": {func() error {
			return only(NewGroup(rand.Reader, without(group, func(p *GroupParams) { p.Credential = Credential{} })))
		}, nil},
		"group without randomness":     {func() error { return only(NewGroup(nil, group)) }, ErrArgument},
		"key package of nothing":       {func() error { return only(NewKeyPackage(rand.Reader, KeyPackageParams{})) }, ErrUnsupported},
		"key package without a signer": {func() error { return only(NewKeyPackage(rand.Reader, KeyPackageParams{Suite: 1})) }, ErrArgument},
		"key package with a signer of P-256": {func() error {
			return only(NewKeyPackage(rand.Reader, KeyPackageParams{Suite: 1, Signer: newPartyOf(t, 2, "x").signer, Credential: k.Credential}))
		}, ErrArgument},
		"key package without randomness":    {func() error { return only(NewKeyPackage(nil, k)) }, ErrArgument},
		"empty key package":                 {func() error { return new(KeyPackage).Verify(testNow) }, ErrUnsupported},
		"signature key without randomness":  {func() error { return only(GenerateSignatureKey(1, nil)) }, ErrArgument},
		"signature key of nothing":          {func() error { return only(NewSignatureKey(1, nil)) }, ErrArgument},
		"signature key of an unknown suite": {func() error { return only(NewSignatureKey(0, make([]byte, 32))) }, ErrUnsupported},
		"ECDSA key of zero":                 {func() error { return only(NewSignatureKey(2, make([]byte, 32))) }, ErrArgument},
		"no message":                        {func() error { return only(g.Process(nil, testNow)) }, ErrArgument},
		"empty message":                     {func() error { return only(g.Process(new(Message), testNow)) }, ErrWrongGroup},
		"message of nothing":                {func() error { return only(ParseMessage(nil)) }, errSyntax},
		"key package of no bytes":           {func() error { return only(ParseKeyPackage(nil)) }, errSyntax},
		"group of no records":               {func() error { return only(LoadGroup(nil)) }, ErrDamaged},
		"secret of no bytes":                {func() error { return only(UnmarshalKeyPackageSecret(nil)) }, errSyntax},
		"no commit":                         {func() error { return g.Apply(nil) }, ErrArgument},
		"empty commit":                      {func() error { return g.Apply(new(StagedCommit)) }, ErrStale},
		"no welcome":                        {func() error { return only(JoinWelcome(nil, JoinParams{KeyPackage: kp, Signer: eve.signer})) }, ErrArgument},
		"empty welcome":                     {func() error { return only(JoinWelcome(new(Message), JoinParams{KeyPackage: kp, Signer: eve.signer})) }, nil},
		"join without anything":             {func() error { return only(JoinWelcome(welcome, JoinParams{})) }, ErrArgument},
		"join without a key package":        {func() error { return only(JoinWelcome(welcome, JoinParams{Signer: eve.signer})) }, ErrArgument},
		"join with an empty key package": {func() error {
			return only(JoinWelcome(welcome, JoinParams{KeyPackage: new(KeyPackageSecret), Signer: eve.signer}))
		}, ErrArgument},
		"join without a signer":            {func() error { return only(JoinWelcome(welcome, JoinParams{KeyPackage: kp})) }, ErrArgument},
		"no group info":                    {func() error { return only(JoinExternal(rand.Reader, nil, external)) }, ErrArgument},
		"external join without anything":   {func() error { return only(JoinExternal(rand.Reader, groupInfo, ExternalJoinParams{})) }, ErrArgument},
		"external join without randomness": {func() error { return only(JoinExternal(nil, groupInfo, external)) }, ErrArgument},
		"external join with no self-remove": {func() error {
			p := external
			p.SelfRemoves = []*Message{nil}
			return only(JoinExternal(rand.Reader, groupInfo, p))
		}, ErrArgument},
		"external join with an empty proposal": {func() error {
			p := external
			p.Proposals = []Proposal{{}}
			return only(JoinExternal(rand.Reader, groupInfo, p))
		}, nil},
		"external join with an unfinished proposal": {func() error {
			p := external
			p.Proposals = []Proposal{{Type: ProposalPreSharedKey}}
			return only(JoinExternal(rand.Reader, groupInfo, p))
		}, ErrArgument},
		"nothing to observe":            {func() error { return only(Observe(nil, nil)) }, ErrArgument},
		"empty message to observe":      {func() error { return only(Observe(new(Message), nil)) }, nil},
		"nothing for an observer":       {func() error { return only(alice.observer().Process(nil, testNow)) }, ErrArgument},
		"no commit for an observer":     {func() error { return alice.observer().Apply(nil) }, ErrArgument},
		"empty commit for an observer":  {func() error { return alice.observer().Apply(new(ObservedCommit)) }, ErrStale},
		"encrypting without randomness": {func() error { return only(g.Encrypt(nil, nil, nil, nil)) }, ErrArgument},
		"committing without randomness": {func() error { return only(g.Commit(nil, CommitParams{Now: testNow})) }, ErrArgument},
		"adding without randomness": {func() error {
			return only(g.Commit(nil, CommitParams{Framing: WirePublicMessage, Proposals: []Proposal{AddProposal(kpBytes)}, Now: testNow}))
		}, ErrArgument},
		"proposing without randomness":      {func() error { return only(g.Propose(nil, RemoveProposal(1), WirePrivateMessage, nil)) }, ErrArgument},
		"updating without randomness":       {func() error { return only(g.ProposeUpdate(nil, WirePrivateMessage, nil)) }, ErrArgument},
		"pre-shared key without randomness": {func() error { return only(g.PSKProposal(nil, PSK{ID: []byte("x")})) }, ErrArgument},
		"proposing nothing":                 {func() error { return only(g.Propose(rand.Reader, Proposal{}, WirePrivateMessage, nil)) }, errSyntax},
		"committing nothing that can be": {func() error {
			return only(g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{{}}, Now: testNow}))
		}, nil},
		"exporting nothing":           {func() error { return only(g.Export("", nil, 0)) }, ErrArgument},
		"exporting less than nothing": {func() error { return only(g.Export("x", nil, -1)) }, ErrArgument},
		"exporting too much":          {func() error { return only(g.Export("x", nil, 1<<30)) }, ErrArgument},
		"branch without a signer":     {func() error { return only(g.Branch(rand.Reader, []byte("b"), nil, SuccessorParams{})) }, ErrArgument},
		"branch with nobody": {func() error {
			return only(g.Branch(rand.Reader, []byte("b"), nil, SuccessorParams{Signer: eve.signer, Members: []*KeyPackage{nil}}))
		}, ErrArgument},
		"branch without randomness":            {func() error { return only(g.Branch(nil, []byte("b"), nil, successor)) }, ErrArgument},
		"proposal from outside with no signer": {func() error { return only(ProposeExternally(1, nil, 0, g.GroupID(), 1, RemoveProposal(0))) }, ErrArgument},
		"proposal from outside of nothing": {func() error {
			return only(ProposeExternally(1, eve.signer, 0, g.GroupID(), 1, Proposal{Type: ProposalAdd}))
		}, ErrArgument},
		"own addition of nothing":               {func() error { return only(ProposeSelf(nil, eve.signer, g.GroupID(), 1)) }, ErrArgument},
		"own addition with the signer of P-256": {func() error { return only(ProposeSelf(kpBytes, newPartyOf(t, 2, "x").signer, g.GroupID(), 1)) }, ErrArgument},
		"own addition with no signer":           {func() error { return only(ProposeSelf(kpBytes, nil, g.GroupID(), 1)) }, ErrArgument},
	}.refused(t, g)
	for _, unfinished := range []ProposalType{ProposalAdd, ProposalUpdate, ProposalPreSharedKey, ProposalReInit} {
		misuses{
			"proposing": {func() error { return only(g.Propose(rand.Reader, Proposal{Type: unfinished}, WirePublicMessage, nil)) }, ErrArgument},
			"committing": {func() error {
				return only(g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{{Type: unfinished}}, Now: testNow}))
			}, ErrArgument},
		}.refused(t, g)
	}
	require.Nil(t, new(Message).Marshal())
	require.Nil(t, new(Message).GroupID())
	require.Nil(t, new(Message).WelcomeRefs())
	require.Nil(t, new(Message).KeyPackage())
	_, there := g.Member(1 << 31)
	require.False(t, there)
	agree(t, all...)
}

// Zero values of what the package itself makes are of no use, and do no harm either.
func TestMisuseOfAnEmptyGroup(t *testing.T) {
	g := new(Group)
	other := newGroup(t, WirePublicMessage, "alice")[0].g
	m := func() *Message {
		raw, err := other.GroupInfo(true)
		require.NoError(t, err)
		return parsed(t, raw)
	}()
	misuses{
		"encrypting":   {func() error { return only(g.Encrypt(rand.Reader, nil, nil, nil)) }, ErrArgument},
		"committing":   {func() error { return only(g.Commit(rand.Reader, CommitParams{})) }, ErrArgument},
		"proposing":    {func() error { return only(g.Propose(rand.Reader, RemoveProposal(1), WirePublicMessage, nil)) }, ErrArgument},
		"updating":     {func() error { return only(g.ProposeUpdate(rand.Reader, WirePublicMessage, nil)) }, ErrArgument},
		"processing":   {func() error { return only(g.Process(m, testNow)) }, ErrArgument},
		"applying":     {func() error { return g.Apply(new(StagedCommit)) }, ErrArgument},
		"confirming":   {func() error { return g.ConfirmPending() }, ErrStale},
		"exporting":    {func() error { return only(g.Export("x", nil, 32)) }, ErrArgument},
		"group info":   {func() error { return only(g.GroupInfo(true)) }, ErrArgument},
		"branching":    {func() error { return only(g.Branch(rand.Reader, nil, nil, SuccessorParams{})) }, ErrArgument},
		"reinit":       {func() error { return only(g.Reinitialize(rand.Reader, SuccessorParams{})) }, nil},
		"psk proposal": {func() error { return only(g.PSKProposal(rand.Reader, PSK{})) }, ErrArgument},
	}.refused(t)
}

func TestMisuseOfOrder(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	misuses{
		"confirming what was not committed": {func() error { return alice.g.ConfirmPending() }, ErrStale},
		"re-initializing an open group":     {func() error { return only(alice.g.Reinitialize(rand.Reader, alice.successorOf())) }, ErrStale},
		"our own message": {func() error {
			m := forgeMessage(alice, ContentProposal, func(a *authenticatedContent) { p := RemoveProposal(1); a.content.proposal = &p })
			return only(alice.g.Process(parsed(t, m), testNow))
		}, ErrOwnMessage},
	}.refused(t, alice.g)
	require.NotPanics(t, alice.g.DropPending, "nothing to drop")

	pending := alice.commit(CommitParams{Framing: WirePublicMessage})
	misuses{
		"committing twice": {func() error { return only(alice.g.Commit(rand.Reader, CommitParams{Now: testNow})) }, ErrPendingCommit},
		"our own commit":   {func() error { return only(alice.g.Process(parsed(t, pending.Message()), testNow)) }, ErrOwnMessage},
	}.refused(t, alice.g)
	alice.g.DropPending()

	// A staged commit is for one state of one group, once.
	first := carol.stage(bob.aside().commit(CommitParams{Framing: WirePublicMessage}).Message())
	second := carol.stage(alice.aside().commit(CommitParams{Framing: WirePublicMessage, Proposals: []Proposal{RemoveProposal(leafOf(carol))}}).Message())
	third := carol.stage(bob.aside().commit(CommitParams{Framing: WirePublicMessage}).Message())
	stranger := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
	elsewhere := stranger[1].stage(stranger[0].aside().commit(CommitParams{Framing: WirePublicMessage}).Message())
	misuses{
		"commit of another group":          {func() error { return carol.g.Apply(elsewhere) }, ErrStale},
		"commit of another member's state": {func() error { return alice.g.Apply(first) }, ErrStale},
		"commit after a restart":           {func() error { return carol.aside().g.Apply(first) }, ErrStale},
	}.refused(t, carol.g, alice.g)
	out := carol.aside().g
	*out = *carol.g
	require.NoError(t, out.Apply(second))
	require.True(t, out.Removed())
	misuses{
		"coming back by another commit": {func() error { return out.Apply(third) }, ErrRemoved},
		"being removed twice":           {func() error { return out.Apply(second) }, ErrRemoved},
	}.refused(t, out)
	require.NoError(t, carol.g.Apply(first))
	misuses{
		"commit applied twice":     {func() error { return carol.g.Apply(first) }, ErrStale},
		"commit of another epoch":  {func() error { return carol.g.Apply(third) }, ErrStale},
		"removal of another epoch": {func() error { return carol.g.Apply(second) }, ErrStale},
	}.refused(t, carol.g)
}

func TestMisuseAfterTheEnd(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	staged := bob.stage(carol.aside().commit(CommitParams{Framing: WirePublicMessage}).Message())
	late := parsed(t, carol.encrypt("late"))
	p := alice.commit(CommitParams{Proposals: []Proposal{RemoveProposal(leafOf(bob))}})
	removal := bob.stage(p.Message())
	require.NoError(t, bob.g.Apply(removal))
	g := bob.g
	misuses{
		"encrypting":       {func() error { return only(g.Encrypt(rand.Reader, nil, nil, nil)) }, ErrRemoved},
		"committing":       {func() error { return only(g.Commit(rand.Reader, CommitParams{Now: testNow})) }, ErrRemoved},
		"proposing":        {func() error { return only(g.Propose(rand.Reader, RemoveProposal(0), WirePublicMessage, nil)) }, ErrRemoved},
		"updating":         {func() error { return only(g.ProposeUpdate(rand.Reader, WirePublicMessage, nil)) }, ErrRemoved},
		"leaving":          {func() error { return only(g.Propose(rand.Reader, SelfRemoveProposal(), WirePublicMessage, nil)) }, ErrRemoved},
		"group info":       {func() error { return only(g.GroupInfo(true)) }, ErrRemoved},
		"processing":       {func() error { return only(g.Process(late, testNow)) }, ErrRemoved},
		"applying":         {func() error { return g.Apply(staged) }, ErrRemoved},
		"applying again":   {func() error { return g.Apply(removal) }, ErrRemoved},
		"confirming":       {func() error { return g.ConfirmPending() }, ErrStale},
		"branching":        {func() error { return only(g.Branch(rand.Reader, []byte("b"), nil, bob.successorOf())) }, ErrRemoved},
		"next epoch's key": {func() error { return only(removal.Export("x", nil, 32)) }, ErrRemoved},
	}.refused(t, g)
	require.Nil(t, removal.Members())
	require.Nil(t, removal.Extensions())

	carol.apply(p.Message())
	alice.confirm()
	spread(alice, CommitParams{Proposals: []Proposal{ReInitProposal([]byte("next"), 1, nil)}}, carol)
	g = carol.g
	commit := parsed(t, forgeCommit(alice, new(commit)))
	misuses{
		"encrypting after the group was closed": {func() error { return only(g.Encrypt(rand.Reader, nil, nil, nil)) }, ErrReInit},
		"committing after the group was closed": {func() error { return only(g.Commit(rand.Reader, CommitParams{Now: testNow})) }, ErrReInit},
		"proposing after the group was closed":  {func() error { return only(g.Propose(rand.Reader, RemoveProposal(0), WirePublicMessage, nil)) }, ErrReInit},
		"updating after the group was closed":   {func() error { return only(g.ProposeUpdate(rand.Reader, WirePublicMessage, nil)) }, ErrReInit},
		"a commit after the group was closed":   {func() error { return only(g.Process(commit, testNow)) }, ErrReInit},
	}.refused(t, g)
}

// errNoRandomness is what failing returns.
var errNoRandomness = errors.New("no more randomness")

// failing is a source of randomness that ends.
type failing struct{ left int }

func (f *failing) Read(b []byte) (int, error) {
	if f.left < len(b) {
		return 0, errNoRandomness
	}
	f.left -= len(b)
	return rand.Read(b)
}

var _ io.Reader = new(failing)

// Randomness may end at every byte: what was begun is not there then.
func TestMisuseWithoutEnoughRandomness(t *testing.T) {
	alice := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")[0]
	kp := newParty(t, "eve").keyPackage().KeyPackage()
	for name, call := range map[string]func(*Group, io.Reader) error{
		"encrypting": func(g *Group, r io.Reader) error { return only(g.Encrypt(r, []byte("x"), nil, nil)) },
		"proposing": func(g *Group, r io.Reader) error {
			return only(g.Propose(r, RemoveProposal(1), WirePrivateMessage, nil))
		},
		"updating": func(g *Group, r io.Reader) error { return only(g.ProposeUpdate(r, WirePrivateMessage, nil)) },
		"committing": func(g *Group, r io.Reader) error {
			return only(g.Commit(r, CommitParams{Proposals: []Proposal{AddProposal(kp)}, ForcePath: true, Now: testNow}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for n := 0; ; n++ {
				g := reloadedOf(alice)
				before := g.Marshal()
				err := call(g, &failing{n})
				if err == nil {
					require.Positive(t, n)
					return
				}
				require.ErrorIs(t, err, errNoRandomness)
				require.True(t, bytes.Equal(before, g.Marshal()), "after %d bytes", n)
			}
		})
	}
}

// What a caller does with its own slices later is nothing to the group, and what it does with those it was given neither.
func TestMisuseOfSlices(t *testing.T) {
	alice, bob := newParty(t, "alice"), newParty(t, "bob")
	id, data, leafData := []byte("group"), []byte("extension"), []byte("of the leaf")
	k := alice.params()
	g, err := NewGroup(rand.Reader, GroupParams{
		Suite: k.Suite, GroupID: id, Signer: k.Signer, Credential: k.Credential, Capabilities: k.Capabilities,
		Extensions: []Extension{{testExtension, data}}, LeafExtensions: []Extension{{testExtension, leafData}},
	})
	require.NoError(t, err)
	alice.g = g
	before := g.Marshal()
	spoil := func(slices ...[]byte) {
		for _, b := range slices {
			for i := range b {
				b[i] ^= 0xff
			}
		}
	}
	spoil(id, data, leafData, k.Credential.Identity)
	spoil(g.GroupID(), g.EpochAuthenticator(), g.Extensions()[0].Data, k.Signer.Public(), k.Signer.Private())
	alice.requireSame(before)

	kp := bob.keyPackage()
	list := []Extension{{testExtension, []byte("by reference")}}
	m, err := alice.g.Propose(rand.Reader, GroupContextExtensionsProposal(list), WirePublicMessage, nil)
	require.NoError(t, err)
	spoil(list[0].Data)
	p := alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
	spoil(p.Message(), p.Welcome(), m)
	alice.confirm()
	bob.join(kp, p.Welcome())
	require.Equal(t, "by reference", string(bob.g.Extensions()[0].Data))
	agree(t, alice, bob)

	list = []Extension{{testExtension, []byte("by value")}}
	_, err = alice.g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{GroupContextExtensionsProposal(list)}, Now: testNow})
	require.NoError(t, err)
	spoil(list[0].Data)
	bob.apply(alice.g.Pending().Message())
	alice.confirm()
	agree(t, alice, bob)
	spoil(bob.g.Extensions()[0].Data)
	agree(t, alice, bob)
}
