package witnessing

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/waxwing-dm/waxwing/transparency"
)

// keys of the two statements. They are made at the first start and stay: policy files of others have them.
type keys struct{ witness, auditor []*transparency.Cosigner }

// What follows the host in the names of the keys.
const (
	witnessName = "/waxwing/witness"
	auditorName = "/waxwing/auditor"
)

func loadKeys(ctx context.Context, st store, host string, postQuantum bool) (k keys, err error) {
	for _, one := range []struct {
		setting, name string
		into          *[]*transparency.Cosigner
		make          func(name string, seed []byte) (*transparency.Cosigner, error)
		wanted        bool
	}{
		{"witness key", host + witnessName, &k.witness, newEd25519, true},
		{"auditor key", host + auditorName, &k.auditor, newEd25519, true},
		{"witness key ML-DSA-44", host + witnessName, &k.witness, newMLDSA44, postQuantum},
		{"auditor key ML-DSA-44", host + auditorName, &k.auditor, newMLDSA44, postQuantum},
	} {
		if !one.wanted {
			continue
		}
		seed, err := loadSeed(ctx, st, one.setting)
		if err != nil {
			return keys{}, err
		}
		c, err := one.make(one.name, seed)
		if err != nil {
			return keys{}, fmt.Errorf("witnessing: making the %s: %w", one.setting, err)
		}
		*one.into = append(*one.into, c)
	}
	return k, nil
}

const seedSize = 32 // of both kinds of keys

func loadSeed(ctx context.Context, st store, setting string) ([]byte, error) {
	fresh := make([]byte, seedSize)
	_, _ = rand.Read(fresh) // it does not fail
	seed, err := st.setting(ctx, setting, fresh)
	if err == nil && len(seed) != seedSize {
		err = fmt.Errorf("witnessing: reading the %s: %d bytes", setting, len(seed))
	}
	return seed, err
}

func newEd25519(name string, seed []byte) (*transparency.Cosigner, error) {
	return transparency.NewEd25519Cosigner(name, ed25519.NewKeyFromSeed(seed))
}

func newMLDSA44(name string, seed []byte) (*transparency.Cosigner, error) {
	return transparency.NewMLDSA44Cosigner(name, [seedSize]byte(seed))
}

func vkeys(cosigners []*transparency.Cosigner) (texts []string) {
	for _, c := range cosigners {
		texts = append(texts, c.Key().String())
	}
	return texts
}

// policy are the lines of a policy file (spec/witness.md) for these keys. The keys of one statement are one vote: a witness has
// one operator, however many keys.
func (k keys) policy(host, url string) (lines []string) {
	for _, role := range []struct {
		name string
		keys []*transparency.Cosigner
	}{{host, k.witness}, {host + "/auditor", k.auditor}} {
		names := []string{role.name}
		if len(role.keys) > 1 {
			names = []string{role.name + "/ed25519", role.name + "/ml-dsa-44"}
		}
		for i, c := range role.keys {
			lines = append(lines, fmt.Sprintf("witness %s %s %s", names[i], c.Key(), url))
		}
		if len(names) > 1 {
			lines = append(lines, fmt.Sprintf("group %s any %s", role.name, strings.Join(names, " ")))
		}
	}
	return lines
}
