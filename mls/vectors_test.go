package mls

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
)

// The working group's test vectors (mlswg/mls-implementations). They are not part of this repository.

type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		return err
	}
	v, err := hex.DecodeString(*s)
	*h = v
	return err
}

// vectorCases says how many cases each file has. A file with fewer is not the one that this engine was tested with.
var vectorCases = map[string]int{
	"crypto-basics.json":                  7,
	"deserialization.json":                14,
	"key-schedule.json":                   7,
	"message-protection.json":             7,
	"messages.json":                       300,
	"passive-client-handling-commit.json": 91,
	"passive-client-random.json":          1,
	"passive-client-welcome.json":         56,
	"psk_secret.json":                     77,
	"secret-tree.json":                    21,
	"transcript-hashes.json":              7,
	"tree-math.json":                      10,
	"tree-operations.json":                5,
	"tree-validation.json":                98,
	"treekem.json":                        77,
	"welcome.json":                        7,
}

func readVectors(t *testing.T, file string) []byte {
	t.Helper()
	dir := os.Getenv("WAXWING_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "vectors")
	}
	data, err := os.ReadFile(filepath.Join(dir, "mls", file))
	if os.IsNotExist(err) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the MLS test vectors are missing: no %s in %s", file, dir)
		}
		t.Skipf("SKIPPED, NOT PASSED: no %s in %s; set WAXWING_VECTORS to a folder with mls/%s", file, dir, file)
	}
	require.NoError(t, err)
	return data
}

// eachVector runs every case of a file, the files and their cases side by side. A case of a suite that this package does not speak
// fails.
func eachVector[T any](t *testing.T, file string, suiteOf func(*T) CipherSuite, run func(*testing.T, *T)) {
	t.Helper()
	data := readVectors(t, file)
	var cases []T
	require.NoError(t, json.Unmarshal(data, &cases))
	require.NotZero(t, vectorCases[file], "%s is not in the list of files", file)
	require.GreaterOrEqual(t, len(cases), vectorCases[file], "%s has lost cases", file)
	ran := &vectorTally{cases: len(cases)}
	tally.Lock()
	tally.vectors[file] = ran
	tally.Unlock()
	t.Run(file, func(t *testing.T) {
		t.Parallel()
		for i := range cases {
			t.Run(fmt.Sprintf("case %d", i), func(t *testing.T) {
				t.Parallel()
				t.Cleanup(func() { ran.count(t) })
				if suiteOf != nil {
					_, err := suiteOf(&cases[i]).suite()
					require.NoError(t, err)
				}
				run(t, &cases[i])
			})
		}
	})
	t.Cleanup(func() {
		if one := strings.Contains(flag.Lookup("test.run").Value.String(), "/"); !one && ran.passed != ran.cases {
			t.Errorf("%s: %d of %d cases passed, %d failed, %d skipped", file, ran.passed, ran.cases, ran.failed, ran.skipped)
		}
	})
}

func (v *vectorTally) count(t *testing.T) {
	tally.Lock()
	defer tally.Unlock()
	switch {
	case t.Failed():
		v.failed++
	case t.Skipped():
		v.skipped++
	default:
		v.passed++
	}
}

// Every file of the collection has its test.
func TestVectorsAreAll(t *testing.T) {
	readVectors(t, "treekem.json")
	dir := os.Getenv("WAXWING_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "vectors")
	}
	there, err := filepath.Glob(filepath.Join(dir, "mls", "*.json"))
	require.NoError(t, err)
	for _, file := range there {
		require.NotZero(t, vectorCases[filepath.Base(file)], "%s has no test", file)
	}
	require.Len(t, vectorCases, 16)
	tests, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	var code []byte
	for _, test := range tests {
		text, err := os.ReadFile(test)
		require.NoError(t, err)
		code = append(code, text...)
	}
	for file := range vectorCases {
		require.GreaterOrEqual(t, bytes.Count(code, []byte(strconv.Quote(file))), 2, "%s is in the list and in no test", file)
	}
}

func TestVectorsTreeMath(t *testing.T) {
	type tc struct {
		NLeaves uint32 `json:"n_leaves"`
		NNodes  uint32 `json:"n_nodes"`
		Root    uint32
		Left    []*uint32
		Right   []*uint32
		Parent  []*uint32
		Sibling []*uint32
	}
	eachVector(t, "tree-math.json", nil, func(t *testing.T, c *tc) {
		require.Equal(t, c.NNodes, nodeWidth(c.NLeaves))
		require.EqualValues(t, c.Root, root(c.NLeaves))
		for i := range c.NNodes {
			x := nodeIndex(i)
			require.Equal(t, c.Left[i] == nil, x.isLeaf())
			if !x.isLeaf() {
				require.EqualValues(t, *c.Left[i], x.left())
				require.EqualValues(t, *c.Right[i], x.right())
			}
			require.Equal(t, c.Parent[i] == nil, x == root(c.NLeaves))
			if c.Parent[i] != nil {
				require.EqualValues(t, *c.Parent[i], x.parent())
				require.EqualValues(t, *c.Sibling[i], x.sibling())
			}
		}
	})
}

func TestVectorsCryptoBasics(t *testing.T) {
	type tc struct {
		Suite   CipherSuite `json:"cipher_suite"`
		RefHash struct {
			Label      string
			Value, Out hexBytes
		} `json:"ref_hash"`
		Expand struct {
			Secret, Context, Out hexBytes
			Label                string
			Length               int
		} `json:"expand_with_label"`
		Derive struct {
			Secret, Out hexBytes
			Label       string
		} `json:"derive_secret"`
		DeriveTree struct {
			Secret, Out hexBytes
			Label       string
			Generation  uint32
			Length      int
		} `json:"derive_tree_secret"`
		Sign struct {
			Priv, Pub, Content, Signature hexBytes
			Label                         string
		} `json:"sign_with_label"`
		Encrypt struct {
			Priv, Pub, Context, Plaintext, Ciphertext hexBytes
			KEMOutput                                 hexBytes `json:"kem_output"`
			Label                                     string
		} `json:"encrypt_with_label"`
	}
	eachVector(t, "crypto-basics.json", func(c *tc) CipherSuite { return c.Suite }, func(t *testing.T, c *tc) {
		s, _ := c.Suite.suite()
		require.EqualValues(t, c.RefHash.Out, s.refHash(c.RefHash.Label, c.RefHash.Value))
		require.EqualValues(t, c.Expand.Out, s.expandWithLabel(c.Expand.Secret, c.Expand.Label, c.Expand.Context, c.Expand.Length))
		require.EqualValues(t, c.Derive.Out, s.deriveSecret(c.Derive.Secret, c.Derive.Label))
		require.EqualValues(t, c.DeriveTree.Out, s.deriveTreeSecret(c.DeriveTree.Secret, c.DeriveTree.Label, c.DeriveTree.Generation, c.DeriveTree.Length))
		key, err := NewSignatureKey(c.Suite, c.Sign.Priv)
		require.NoError(t, err)
		require.EqualValues(t, c.Sign.Pub, key.Public())
		require.True(t, s.verifyWithLabel(c.Sign.Pub, c.Sign.Label, c.Sign.Content, c.Sign.Signature))
		require.True(t, s.verifyWithLabel(c.Sign.Pub, c.Sign.Label, c.Sign.Content, key.signWithLabel(c.Sign.Label, c.Sign.Content)))
		e := c.Encrypt
		plain, err := s.openWithLabel(e.Priv, e.Label, e.Context, hpkeCiphertext{e.KEMOutput, e.Ciphertext})
		require.NoError(t, err)
		require.EqualValues(t, e.Plaintext, plain)
		again, err := s.sealWithLabel(rand.Reader, e.Pub, e.Label, e.Context, e.Plaintext)
		require.NoError(t, err)
		plain, err = s.openWithLabel(e.Priv, e.Label, e.Context, again)
		require.NoError(t, err)
		require.EqualValues(t, e.Plaintext, plain)
	})
}

func TestVectorsDeserialization(t *testing.T) {
	type tc struct {
		Header hexBytes `json:"vlbytes_header"`
		Length uint32
	}
	eachVector(t, "deserialization.json", nil, func(t *testing.T, c *tc) {
		s := cryptobyte.String(c.Header)
		var n uint32
		require.True(t, readVarint(&s, &n))
		require.Equal(t, c.Length, n)
		require.True(t, s.Empty())
		require.EqualValues(t, c.Header, build(func(b *cryptobyte.Builder) { addVarint(b, int(n)) }))
	})
}

func TestVectorsKeySchedule(t *testing.T) {
	type tc struct {
		Suite   CipherSuite `json:"cipher_suite"`
		GroupID hexBytes    `json:"group_id"`
		Init    hexBytes    `json:"initial_init_secret"`
		Epochs  []struct {
			TreeHash     hexBytes `json:"tree_hash"`
			Commit       hexBytes `json:"commit_secret"`
			PSK          hexBytes `json:"psk_secret"`
			Confirmed    hexBytes `json:"confirmed_transcript_hash"`
			Context      hexBytes `json:"group_context"`
			Joiner       hexBytes `json:"joiner_secret"`
			Welcome      hexBytes `json:"welcome_secret"`
			Init         hexBytes `json:"init_secret"`
			SenderData   hexBytes `json:"sender_data_secret"`
			Encryption   hexBytes `json:"encryption_secret"`
			Exporter     hexBytes `json:"exporter_secret"`
			Auth         hexBytes `json:"epoch_authenticator"`
			External     hexBytes `json:"external_secret"`
			Confirmation hexBytes `json:"confirmation_key"`
			Membership   hexBytes `json:"membership_key"`
			Resumption   hexBytes `json:"resumption_psk"`
			ExternalPub  hexBytes `json:"external_pub"`
			Export       struct {
				Label   string
				Context hexBytes
				Length  int
				Secret  hexBytes
			} `json:"exporter"`
		}
	}
	eachVector(t, "key-schedule.json", func(c *tc) CipherSuite { return c.Suite }, func(t *testing.T, c *tc) {
		s, _ := c.Suite.suite()
		init := []byte(c.Init)
		for i, e := range c.Epochs {
			gc := groupContext{suite: c.Suite, groupID: c.GroupID, epoch: uint64(i), treeHash: e.TreeHash, confirmed: e.Confirmed}
			context := marshal(&gc)
			require.EqualValues(t, e.Context, context)
			joiner := s.joiner(init, e.Commit, context)
			require.EqualValues(t, e.Joiner, joiner)
			member := s.member(joiner, e.PSK)
			require.EqualValues(t, e.Welcome, s.deriveSecret(member, "welcome"))
			secrets, encryption := s.epoch(member, context)
			require.EqualValues(t, e.Encryption, encryption)
			require.EqualValues(t, e.Init, secrets.init)
			require.EqualValues(t, e.SenderData, secrets.senderData)
			require.EqualValues(t, e.Exporter, secrets.exporter)
			require.EqualValues(t, e.Auth, secrets.authentication)
			require.EqualValues(t, e.External, secrets.external)
			require.EqualValues(t, e.Confirmation, secrets.confirmation)
			require.EqualValues(t, e.Membership, secrets.membership)
			require.EqualValues(t, e.Resumption, secrets.resumption)
			pub, _ := s.deriveKeyPair(secrets.external)
			require.EqualValues(t, e.ExternalPub, pub)
			out, err := s.export(secrets, e.Export.Label, e.Export.Context, e.Export.Length)
			require.NoError(t, err)
			require.EqualValues(t, e.Export.Secret, out)
			init = secrets.init
		}
	})
}

func TestVectorsSecretTree(t *testing.T) {
	type tc struct {
		Suite      CipherSuite `json:"cipher_suite"`
		SenderData struct {
			Secret                 hexBytes `json:"sender_data_secret"`
			Ciphertext, Key, Nonce hexBytes
		} `json:"sender_data"`
		Encryption hexBytes `json:"encryption_secret"`
		Leaves     [][]struct {
			Generation       uint32
			HandshakeKey     hexBytes `json:"handshake_key"`
			HandshakeNonce   hexBytes `json:"handshake_nonce"`
			ApplicationKey   hexBytes `json:"application_key"`
			ApplicationNonce hexBytes `json:"application_nonce"`
		}
	}
	eachVector(t, "secret-tree.json", func(c *tc) CipherSuite { return c.Suite }, func(t *testing.T, c *tc) {
		s, _ := c.Suite.suite()
		k := s.senderDataKey(c.SenderData.Secret, c.SenderData.Ciphertext)
		require.EqualValues(t, c.SenderData.Key, k.key)
		require.EqualValues(t, c.SenderData.Nonce, k.nonce)
		tree := newSecretTree(s, uint32(len(c.Leaves)), c.Encryption)
		for leaf, generations := range c.Leaves {
			for _, g := range generations {
				for kind, want := range [][2]hexBytes{{g.HandshakeKey, g.HandshakeNonce}, {g.ApplicationKey, g.ApplicationNonce}} {
					r, err := tree.of(leafIndex(leaf), ratchetKind(kind))
					require.NoError(t, err)
					key, after, err := r.at(s, g.Generation)
					require.NoError(t, err)
					require.EqualValues(t, want[0], key.key)
					require.EqualValues(t, want[1], key.nonce)
					*r = *after
				}
			}
		}
		require.Empty(t, tree.root.unused(root(tree.leaves)), "the secrets of subtrees that were used are gone")
	})
}

func TestVectorsTranscriptHashes(t *testing.T) {
	type tc struct {
		Suite         CipherSuite `json:"cipher_suite"`
		Key           hexBytes    `json:"confirmation_key"`
		Content       hexBytes    `json:"authenticated_content"`
		InterimBefore hexBytes    `json:"interim_transcript_hash_before"`
		Confirmed     hexBytes    `json:"confirmed_transcript_hash_after"`
		Interim       hexBytes    `json:"interim_transcript_hash_after"`
	}
	eachVector(t, "transcript-hashes.json", func(c *tc) CipherSuite { return c.Suite }, func(t *testing.T, c *tc) {
		s, _ := c.Suite.suite()
		var a authenticatedContent
		require.NoError(t, unmarshal(c.Content, &a, "content"))
		require.NotNil(t, a.content.commit)
		confirmed := s.confirmedTranscript(c.InterimBefore, &a)
		require.EqualValues(t, c.Confirmed, confirmed)
		require.True(t, s.checkMAC(c.Key, confirmed, a.confirmationTag))
		require.EqualValues(t, c.Interim, s.interimTranscript(confirmed, a.confirmationTag))
	})
}

func TestVectorsWelcome(t *testing.T) {
	type tc struct {
		Suite      CipherSuite `json:"cipher_suite"`
		InitPriv   hexBytes    `json:"init_priv"`
		SignerPub  hexBytes    `json:"signer_pub"`
		KeyPackage hexBytes    `json:"key_package"`
		Welcome    hexBytes
	}
	eachVector(t, "welcome.json", func(c *tc) CipherSuite { return c.Suite }, func(t *testing.T, c *tc) {
		s, _ := c.Suite.suite()
		kp, err := ParseMessage(c.KeyPackage)
		require.NoError(t, err)
		m, err := ParseMessage(c.Welcome)
		require.NoError(t, err)
		require.Contains(t, m.WelcomeRefs(), kp.KeyPackage().Ref())
		secrets, err := m.welcome.open(s, &KeyPackageSecret{public: kp.KeyPackage(), initPriv: c.InitPriv})
		require.NoError(t, err)
		member := s.member(secrets.joiner, make([]byte, s.nh))
		info, err := m.welcome.openInfo(s, member)
		require.NoError(t, err)
		require.True(t, s.verifyWithLabel(c.SignerPub, "GroupInfoTBS", build(info.addUnsigned), info.signature))
		epoch, _ := s.epoch(member, marshal(&info.context))
		require.True(t, s.checkMAC(epoch.confirmation, info.context.confirmed, info.confirmationTag))
	})
}

func TestVectorsMessages(t *testing.T) {
	eachVector(t, "messages.json", nil, func(t *testing.T, c *map[string]hexBytes) {
		for name, data := range *c {
			var again []byte
			proposal := func(kind ProposalType) {
				var p Proposal
				full := append([]byte{byte(kind >> 8), byte(kind)}, data...)
				require.NoError(t, unmarshal(full, &p, name))
				again = marshal(&p)[2:]
			}
			switch name {
			case "mls_welcome", "mls_group_info", "mls_key_package", "public_message_application", "public_message_proposal",
				"public_message_commit", "private_message":
				m, err := ParseMessage(data)
				require.NoError(t, err, name)
				again = m.Marshal()
			case "ratchet_tree":
				tree, err := parseTree(suites[1], data)
				require.NoError(t, err)
				again = tree.marshal()
			case "group_secrets":
				var g groupSecrets
				require.NoError(t, unmarshal(data, &g, name))
				again = marshal(&g)
			case "commit":
				var m commit
				require.NoError(t, unmarshal(data, &m, name))
				again = marshal(&m)
			case "add_proposal":
				proposal(ProposalAdd)
			case "update_proposal":
				proposal(ProposalUpdate)
			case "remove_proposal":
				proposal(ProposalRemove)
			case "pre_shared_key_proposal":
				proposal(ProposalPreSharedKey)
			case "re_init_proposal":
				proposal(ProposalReInit)
			case "external_init_proposal":
				proposal(proposalExternalInit)
			case "group_context_extensions_proposal":
				proposal(ProposalGroupContextExtensions)
			default:
				t.Fatalf("unknown kind of message %s", name)
			}
			require.True(t, bytes.Equal(data, again), "%s is not re-encoded alike", name)
		}
	})
}
