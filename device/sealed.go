package device

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"

	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// What a committer leaves at the hub for members who lose the thread: how the group looks from outside after the commit. It is sealed for each
// leaf of the new tree by the leaf's own key, which its device knows however long it was away; a key of the group would be known to who
// has just been removed, and not to who could not follow.

const (
	sealedVersion   = 1
	sealedComponent = mls.ComponentID(roomExtension)
	sealedLabel     = "waxwing group info"
	sealedKeySize   = 32
	sealedEntry     = 32 + sealedKeySize + 16 // KEM output, encrypted key
	maxSealedKeys   = 1024
	maxSubmitted    = 700 << 10 // bytes of a commit and what goes with it (S2)
	infoHead        = ticketSize + authenticatorSize + 4
)

const authenticatorSize = 8

// An inside is what is sealed.
//
//	struct {
//	  opaque ticket_seed[32];
//	  opaque epoch_authenticator[8];
//	  opaque group_info<1..2^32-1>; // MLSMessage, with the tree and the external key
//	  opaque zeros[];
//	} Inside;
type inside struct {
	ticket        []byte // seed
	authenticator [authenticatorSize]byte
	groupInfo     []byte
}

func (in inside) marshal() []byte {
	var b cryptobyte.Builder
	b.AddBytes(in.ticket)
	b.AddBytes(in.authenticator[:])
	b.AddUint32(uint32(len(in.groupInfo)))
	b.AddBytes(in.groupInfo)
	plain := b.BytesOrPanic()
	return append(plain, make([]byte, bucketOf(len(plain))-len(plain))...)
}

func parseInside(plain []byte) (in inside, err error) {
	s := cryptobyte.String(plain)
	var n uint32
	if !s.ReadBytes(&in.ticket, ticketSize) || !s.CopyBytes(in.authenticator[:]) || !s.ReadUint32(&n) || n < 1 || uint64(n) > uint64(len(s)) ||
		!s.ReadBytes(&in.groupInfo, int(n)) {
		return inside{}, fmt.Errorf("device: reading a sealed group info: it is cut off")
	}
	for _, b := range s {
		if b != 0 {
			return inside{}, fmt.Errorf("device: reading a sealed group info: something follows it")
		}
	}
	return in, nil
}

// sealedContext binds what is sealed to its group and epoch.
func sealedContext(groupID []byte, epoch uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte{}, groupID...), epoch)
}

// sealGroup seals a group that is to be for the devices in it.
//
//	struct {
//	  uint8  version = 1;
//	  uint16 count;                                         // 4, 16, 64 or a multiple of 256, to tell less of how many devices there are
//	  struct { opaque kem_output[32]; opaque key[48]; } keys[count]; // the same key for each leaf, or one that nobody has
//	  opaque sealed[];                                      // AES-256-GCM of Inside, nonce 0^12; the key is used once
//	} SealedGroup;
func sealGroup(rand io.Reader, g *mls.Group) ([]byte, error) {
	in := inside{}
	copy(in.authenticator[:], g.EpochAuthenticator())
	var err error
	if in.ticket, err = g.Export(receipt.TicketLabel, nil, ticketSize); err != nil {
		return nil, fmt.Errorf("device: sealing a group info: %w", err)
	}
	if in.groupInfo, err = g.GroupInfo(true); err != nil {
		return nil, fmt.Errorf("device: sealing a group info: %w", err)
	}
	members := g.Members()
	count := sealedKeys(len(members))
	if infoHead+len(in.groupInfo)+count*sealedEntry > maxSubmitted || count > maxSealedKeys {
		return nil, nil // others will say it in a smaller group
	}
	key, none := make([]byte, sealedKeySize), make([]byte, sealedKeySize)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, fmt.Errorf("device: sealing a group info: %w", err)
	}
	context := sealedContext(g.GroupID(), g.Epoch())
	out := binary.BigEndian.AppendUint16([]byte{sealedVersion}, uint16(count))
	for i := range count {
		leaf, secret := g.OwnLeaf(), none
		if i < len(members) {
			leaf, secret = members[i].Leaf, key
		}
		kem, ct, err := g.SafeEncrypt(rand, leaf, sealedComponent, sealedLabel, context, secret)
		if err != nil {
			return nil, fmt.Errorf("device: sealing a group info: %w", err)
		}
		out = append(append(out, kem...), ct...)
	}
	aead, err := sealedCipher(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, make([]byte, aead.NonceSize()), in.marshal(), context), nil
}

func sealedKeys(members int) int {
	for _, n := range []int{4, 16, 64} {
		if members <= n {
			return n
		}
	}
	return (members + 255) / 256 * 256
}

func sealedCipher(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("device: sealing a group info: %w", err)
	}
	return cipher.NewGCM(block)
}

// openSealed opens what was sealed for one of our leaf keys.
func openSealed(sealed, groupID []byte, epoch uint64, leafKeys [][]byte) (inside, error) {
	s := cryptobyte.String(sealed)
	var version uint8
	var count uint16
	var keys []byte
	if len(sealed) > maxSubmitted || !s.ReadUint8(&version) || version != sealedVersion || !s.ReadUint16(&count) || count > maxSealedKeys ||
		!s.ReadBytes(&keys, int(count)*sealedEntry) {
		return inside{}, fmt.Errorf("device: opening a sealed group info: it is malformed")
	}
	context := sealedContext(groupID, epoch)
	for _, leafKey := range leafKeys {
		for e := keys; len(e) > 0; e = e[sealedEntry:] {
			key, err := suite.SafeDecrypt(leafKey, sealedComponent, sealedLabel, context, e[:32], e[32:sealedEntry])
			if err != nil || len(key) != sealedKeySize {
				continue
			}
			aead, err := sealedCipher(key)
			if err != nil {
				return inside{}, err
			}
			if plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), s, context); err == nil {
				return parseInside(plain)
			}
		}
	}
	return inside{}, fmt.Errorf("device: opening a sealed group info: nothing there is sealed for this device; if it was removed, or has lost its keys, an admin can remove and add it again")
}

// sealFor is sealGroup, and nil if it would make a submission too large.
func sealFor(rand io.Reader, g *mls.Group, commit int) ([]byte, error) {
	sealed, err := sealGroup(rand, g)
	if commit+len(sealed) > maxSubmitted {
		sealed = nil
	}
	return sealed, err
}
