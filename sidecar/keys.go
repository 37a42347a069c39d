package sidecar

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"fmt"

	"github.com/waxwing-dm/waxwing/sidecar/internal/rsakey"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

// keys of the instance. They are made at the first start and stay: receivers pin them.
type keys struct {
	log     ed25519.PrivateKey // signs checkpoints
	vrf     *vrf.PrivateKey    // makes the labels of the log
	hub     ed25519.PrivateKey // signs receipts
	service *rsa.PrivateKey    // signs what the instance asks of others

	serviceEd25519 ed25519.PrivateKey // signs what it sends to other sidecars, its users' activities too
}

func loadKeys(ctx context.Context, s *store.Store) (k keys, err error) {
	if k.log, err = loadEd25519(ctx, s, "log key"); err != nil {
		return keys{}, err
	}
	if k.vrf, err = loadVRF(ctx, s); err != nil {
		return keys{}, err
	}
	if k.hub, err = loadEd25519(ctx, s, "hub key"); err != nil {
		return keys{}, err
	}
	if k.serviceEd25519, err = loadEd25519(ctx, s, "service ed25519 key"); err != nil {
		return keys{}, err
	}
	der, err := s.Setting(ctx, "service key", rsakey.Make)
	if err != nil {
		return keys{}, err
	}
	k.service, err = rsakey.Parse(der)
	return k, err
}

func loadEd25519(ctx context.Context, s *store.Store, name string) (ed25519.PrivateKey, error) {
	seed, err := s.Setting(ctx, name, func() ([]byte, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key.Seed(), err
	})
	if err != nil {
		return nil, err
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("sidecar: reading the %s: %d bytes", name, len(seed))
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

func loadVRF(ctx context.Context, s *store.Store) (*vrf.PrivateKey, error) {
	seed, err := s.Setting(ctx, "vrf key", func() ([]byte, error) {
		key, err := vrf.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		seed := key.Seed()
		return seed[:], nil
	})
	if err != nil {
		return nil, err
	}
	return vrf.NewPrivateKey(seed)
}
