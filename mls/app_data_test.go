package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
)

// Components of the tests.
const (
	journal ComponentID = 0x8001 // what it keeps is all its updates, one after the other
	counter ComponentID = 0x8002
)

// appends is the rule of the journal; what begins with "bad" it refuses, and nobody else is known.
func appends(c ComponentID, old []byte, updates [][]byte) ([]byte, error) {
	if c != journal && c != counter {
		return nil, errors.New("never heard of it")
	}
	data := slices.Concat(append([][]byte{old}, updates...)...)
	if bytes.Contains(data, []byte("bad")) {
		return nil, errors.New("bad")
	}
	return data, nil
}

// knowsAppData is a client with the components of the tests.
func knowsAppData(k *KeyPackageParams) {
	k.Capabilities.Extensions = append(k.Capabilities.Extensions, ExtensionAppDataDictionary)
	k.Capabilities.Proposals = append(k.Capabilities.Proposals, ProposalAppDataUpdate, ProposalAppEphemeral)
	k.LeafExtensions = append(k.LeafExtensions, AppData{
		ComponentAppComponents: ComponentList(ComponentAppComponents, ComponentSafeAAD, journal, counter),
		ComponentSafeAAD:       ComponentList(journal),
		counter:                []byte("in a leaf"),
	}.Extension())
}

// requires is the extension of groups with app data where all members must know updates.
func requires(types ...ProposalType) Extension {
	return Extension{ExtensionRequiredCapabilities, marshal(&requiredCapabilities{proposals: types})}
}

// appGroup is a group of members who know the journal.
func appGroup(t require.TestingT, extensions []Extension, names ...string) []*party {
	all := groupOf(t, knowsAppData, extensions, names...)
	for _, p := range all {
		p.appData = appends
		p.g.UseAppData(appends)
	}
	return all
}

func (p *party) appCommit(params CommitParams, list ...Proposal) error {
	params.Proposals, params.Now = list, testNow
	_, err := p.g.Commit(rand.Reader, params)
	p.g.DropPending()
	return err
}

func TestAppDataEncoding(t *testing.T) {
	d := AppData{2: []byte("two"), 1: nil, 0xFFFF: []byte("last")}
	raw := d.Marshal()
	require.Equal(t, []byte("\x10\x00\x01\x00\x00\x02\x03two\xff\xff\x04last"), raw)
	again, err := ParseAppData(raw)
	require.NoError(t, err)
	require.Equal(t, AppData{2: []byte("two"), 1: {}, 0xFFFF: []byte("last")}, again)
	for _, bad := range []string{
		"", "\x01", "\x03\x00\x01\x01", "\x06\x00\x02\x00\x00\x01\x00", "\x06\x00\x02\x00\x00\x02\x00", "\x03\x00\x01\x00x", "\x03\x00\x01\x00\x00",
	} {
		_, err := ParseAppData([]byte(bad))
		require.ErrorIs(t, err, errSyntax, "%x", bad)
	}
	many := AppData{}
	for id := range ComponentID(maxComponents) {
		many[id] = nil
	}
	_, err = ParseAppData(many.Marshal())
	require.NoError(t, err)
	many[maxComponents] = nil
	_, err = ParseAppData(many.Marshal())
	require.ErrorIs(t, err, errSyntax)
}

// App data of a group, a leaf, a key package and a Welcome gets where it belongs.
func TestAppDataEverywhere(t *testing.T) {
	group := AppData{journal: []byte("of the group"), ComponentAppComponents: ComponentList(journal)}
	all := appGroup(t, []Extension{group.Extension()}, "alice", "bob")
	alice, bob := all[0], all[1]
	require.Equal(t, group, bob.g.AppData())
	carol := newParty(t, "carol")
	carol.change = knowsAppData
	kp := carol.keyPackageWith(func(k *KeyPackageParams) {
		k.Extensions = []Extension{AppData{journal: []byte("in a package")}.Extension()}
	})
	d, err := ParseAppData(kp.KeyPackage().Extensions[0].Data)
	require.NoError(t, err)
	require.Equal(t, "in a package", string(d[journal]))
	hello := AppData{journal: []byte("welcome")}.Extension()
	p := alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, GroupInfo: []Extension{hello}})
	bob.apply(p.Message())
	alice.confirm()
	j := carol.join(kp, p.Welcome())
	require.Equal(t, group, j.Group().AppData())
	got := j.GroupInfoExtensions()
	require.Len(t, got, 2, "app data and GREASE, without the tree")
	d, err = ParseAppData(got[0].Data)
	require.NoError(t, err)
	require.Equal(t, "welcome", string(d[journal]))
	for _, m := range j.Members() {
		data, ok := component(m.Node.Extensions, counter)
		require.True(t, ok)
		require.Equal(t, "in a leaf", string(data))
	}
	carol.appData = appends
	carol.reload()
	agree(t, alice, bob, carol)
	_, err = alice.g.GroupInfo(true, hello, hello)
	requireRule(t, err, "stands twice")
	_, err = alice.g.GroupInfo(true, Extension{ExtensionAppDataDictionary, []byte{1}})
	requireRule(t, err, "app data that is malformed")
	empty := newParty(t, "empty")
	empty.create()
	require.Empty(t, empty.g.AppData())
	require.Equal(t, empty.g.AppData(), AppData{})
}

func TestAppDataRules(t *testing.T) {
	unsorted := Extension{ExtensionAppDataDictionary, []byte{6, 0, 2, 0, 0, 1, 0}}
	badList := AppData{ComponentAppComponents: []byte{1, 1}}.Extension()
	alice := newParty(t, "alice")
	alice.change = knowsAppData
	leafWith := func(e Extension) *KeyPackage {
		return alice.packageWith(func(kp *KeyPackage) { kp.Leaf.Extensions = []Extension{e} })
	}
	breach(t, "M103 key package whose leaf has app data out of order", leafWith(unsorted).Verify(testNow))
	breach(t, "M104 key package whose leaf has half a component in its list", leafWith(badList).Verify(testNow))
	breach(t, "M103 key package with app data out of order", alice.packageWith(func(kp *KeyPackage) { kp.Extensions = []Extension{unsorted} }).Verify(testNow))
	require.NoError(t, alice.packageWith(func(kp *KeyPackage) { kp.Extensions = []Extension{badList} }).Verify(testNow), "only leaves and groups have the list")

	silent := alice.params()
	silent.LeafExtensions = []Extension{AppData{counter: nil}.Extension()}
	_, err := NewKeyPackage(rand.Reader, silent)
	breach(t, "M108 key package of ours without a list", err)
	create := func(k KeyPackageParams, list ...Extension) error {
		_, err := NewGroup(rand.Reader, GroupParams{Suite: k.Suite, GroupID: []byte("g"), Signer: k.Signer, Credential: k.Credential,
			Capabilities: k.Capabilities, Lifetime: k.Lifetime, LeafExtensions: k.LeafExtensions, Extensions: list})
		return err
	}
	breach(t, "M108 group by a leaf without a list", create(silent))
	breach(t, "M103 group with app data out of order", create(alice.params(), unsorted))
	breach(t, "M104 group with half a component in its list", create(alice.params(), badList))
	breach(t, "M105 group with too much app data", create(alice.params(), AppData{journal: make([]byte, maxAppData)}.Extension()))
	breach(t, "M107 group that requires what its maker has not", create(alice.params(), AppData{ComponentAppComponents: ComponentList(0x9000)}.Extension()))
	breach(t, "M107 group that frames with what its maker has not", create(alice.params(), AppData{ComponentSafeAAD: ComponentList(counter)}.Extension()))

	all := groupOf(t, knowsAppData, nil, "bob", "carol")
	bob, carol := all[0], all[1]
	for name, e := range map[string]Extension{
		"M103 change to app data out of order":              unsorted,
		"M104 change to half a component in the list":       badList,
		"M105 change to too much app data":                  AppData{journal: make([]byte, maxAppData)}.Extension(),
		"M107 change to a component that not everybody has": AppData{ComponentAppComponents: ComponentList(0x9000)}.Extension(),
	} {
		breach(t, name+", ours", bob.appCommit(CommitParams{}, GroupContextExtensionsProposal([]Extension{e})))
		_, err := carol.process(forgePathless(bob, GroupContextExtensionsProposal([]Extension{e})))
		breach(t, name, err)
	}
	dave := newParty(t, "dave")
	kp := dave.keyPackage()
	bob.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
	join := func(change func(*groupInfo)) error {
		_, err := JoinWelcome(parsed(t, reWelcome(t, bob, kp, change)), JoinParams{KeyPackage: kp, Signer: dave.signer})
		return err
	}
	breach(t, "M103 welcome with app data out of order", join(func(i *groupInfo) { i.extensions = append(i.extensions, unsorted) }))
	breach(t, "M104 welcome to a group with half a component in its list", join(func(i *groupInfo) { i.context.extensions = []Extension{badList} }))

	// Who comes from outside has to say what it supports, too.
	info, err := carol.g.GroupInfo(true)
	require.NoError(t, err)
	_, err = JoinExternal(rand.Reader, parsed(t, info), ExternalJoinParams{Signer: alice.signer, Credential: silent.Credential, Capabilities: silent.Capabilities})
	breach(t, "M108 newcomer without a list", err)
}

// A member without a component that the group requires is not added; one that has it is, whatever else it lists.
func TestRequiredComponents(t *testing.T) {
	all := appGroup(t, []Extension{AppData{ComponentAppComponents: ComponentList(journal)}.Extension()}, "alice", "bob")
	plain := newParty(t, "plain")
	plain.change = func(k *KeyPackageParams) {
		k.Capabilities.Extensions = append(k.Capabilities.Extensions, ExtensionAppDataDictionary)
		k.LeafExtensions = []Extension{AppData{ComponentAppComponents: ComponentList(counter)}.Extension()}
	}
	breach(t, "M107 add of ours of who lacks a component", all[0].appCommit(CommitParams{}, AddProposal(plain.keyPackage().KeyPackage())))
	_, err := all[1].process(forgePathless(all[0], AddProposal(plain.keyPackage().KeyPackage())))
	breach(t, "M107 add of who lacks a component", err)
	// By an update of app data the demands change as well: everybody is looked at again.
	all[1].appData = func(ComponentID, []byte, [][]byte) ([]byte, error) { return ComponentList(journal, 0x9000), nil }
	all[1].reload()
	breach(t, "M107 update to a component that not everybody has", all[1].appCommit(CommitParams{}, AppDataUpdateProposal(ComponentAppComponents, nil)))
}

func TestGreaseInAppData(t *testing.T) {
	p := newParty(t, "alice")
	p.change = knowsAppData
	seen := map[ComponentID]bool{}
	for range 60 {
		kp := p.keyPackageWith(func(k *KeyPackageParams) {
			k.Extensions = []Extension{AppData{ComponentAppComponents: []byte{2, 3, 4}}.Extension()}
		}).KeyPackage()
		for _, id := range componentLists {
			list, err := components(kp.Leaf.Extensions, id)
			require.NoError(t, err)
			nobody := list[len(list)-1]
			require.True(t, nobody&0x0f0f == 0x0a0a && nobody>>8 == nobody&0xff && nobody < 0x8000, "%#x", nobody)
			seen[nobody] = true
			_, ok := component(kp.Leaf.Extensions, nobody)
			require.True(t, ok)
			_, ok = component(kp.Extensions, nobody)
			require.True(t, ok)
		}
		data, _ := component(kp.Extensions, ComponentAppComponents)
		require.Equal(t, []byte{2, 3, 4}, data, "not a list there")
		require.NoError(t, kp.Verify(testNow))
	}
	require.Greater(t, len(seen), 5)
}

func FuzzParseAppData(f *testing.F) {
	f.Add(AppData{1: ComponentList(1, 2), 0x8000: []byte("x")}.Marshal())
	f.Add([]byte{0})
	f.Add([]byte{6, 0, 2, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := ParseAppData(raw)
		if err != nil {
			return
		}
		require.Equal(t, raw, d.Marshal())
		list := []Extension{{ExtensionAppDataDictionary, raw}}
		for id, want := range d {
			got, ok := component(list, id)
			require.True(t, ok)
			require.True(t, bytes.Equal(want, got))
		}
		_ = checkGroupData(list)
		_ = new(LeafNode).checkSupportsComponents(list)
	})
}

func FuzzAppDataUpdate(f *testing.F) {
	for _, p := range []Proposal{AppDataUpdateProposal(journal, []byte("x")), AppDataUpdateProposal(journal, nil), AppDataRemoveProposal(journal), AppEphemeralProposal(counter, nil)} {
		f.Add(marshal(&p))
	}
	f.Add(build(func(b *cryptobyte.Builder) { b.AddBytes([]byte{0, 8, 0, 1, 0}) }))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := new(Proposal)
		if unmarshal(raw, p, "a proposal") == nil {
			require.Equal(t, raw, marshal(p))
		}
	})
}
