package keydir_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/keydir"
)

func TestCheckKeyPackage(t *testing.T) {
	const hour, day = uint64(3600), uint64(24 * 3600)
	now := time.Unix(1_700_000_000, 0)
	sec := uint64(now.Unix())
	list := keydir.DeviceList{Actor: alice, Devices: []keydir.Device{{SignatureKey: [32]byte{1}}, {SignatureKey: [32]byte{2}}}}
	type facts = keydir.KeyPackageFacts
	for name, c := range map[string]struct {
		code   string
		change func(*facts)
	}{
		"good":                         {"", func(*facts) {}},
		"the other device":             {"", func(f *facts) { f.SignatureKey = list.Devices[1].SignatureKey[:] }},
		"90 days, begun an hour ago":   {"", func(f *facts) { f.NotBefore, f.NotAfter = sec-hour, sec+90*day }},
		"begins within the hour":       {"", func(f *facts) { f.NotBefore = sec + hour }},
		"its last second":              {"", func(f *facts) { f.NotAfter = sec }},
		"suite 3":                      {"suite_unsupported", func(f *facts) { f.Suite = 3 }},
		"suite 0":                      {"suite_unsupported", func(f *facts) { f.Suite = 0 }},
		"X.509 credential":             {"kp_identity", func(f *facts) { f.Basic = false }},
		"another actor":                {"kp_identity", func(f *facts) { f.Identity = []byte(bob) }},
		"no identity":                  {"kp_identity", func(f *facts) { f.Identity = nil }},
		"identity in capitals":         {"kp_identity", func(f *facts) { f.Identity = bytes.ToUpper(f.Identity) }},
		"identity with a slash more":   {"kp_identity", func(f *facts) { f.Identity = append(f.Identity, '/') }},
		"100 days":                     {"kp_lifetime", func(f *facts) { f.NotAfter = f.NotBefore + 100*day }},
		"just too long":                {"kp_lifetime", func(f *facts) { f.NotAfter = f.NotBefore + 90*day + 2*hour + 1 }},
		"ends before it begins":        {"kp_lifetime", func(f *facts) { f.NotBefore, f.NotAfter = sec+1, sec }},
		"for ever":                     {"kp_lifetime", func(f *facts) { f.NotBefore, f.NotAfter = 0, math.MaxUint64 }},
		"at the end of time":           {"kp_expired", func(f *facts) { f.NotBefore, f.NotAfter = math.MaxUint64-1, math.MaxUint64 }},
		"over":                         {"kp_expired", func(f *facts) { f.NotAfter = sec - 1 }},
		"of long ago":                  {"kp_expired", func(f *facts) { f.NotBefore, f.NotAfter = 0, day }},
		"begins too late":              {"kp_expired", func(f *facts) { f.NotBefore = sec + hour + 1 }},
		"a device that is not listed":  {"kp_not_logged", func(f *facts) { f.SignatureKey = bytes.Repeat([]byte{3}, 32) }},
		"no signature key":             {"kp_not_logged", func(f *facts) { f.SignatureKey = nil }},
		"a listed key cut":             {"kp_not_logged", func(f *facts) { f.SignatureKey = f.SignatureKey[:31] }},
		"a listed key and a byte more": {"kp_not_logged", func(f *facts) { f.SignatureKey = append(f.SignatureKey, 0) }},
	} {
		f := facts{
			Suite: 1, Basic: true, Identity: []byte(alice), SignatureKey: bytes.Clone(list.Devices[0].SignatureKey[:]),
			NotBefore: sec - hour, NotAfter: sec + 30*day,
		}
		c.change(&f)
		err := keydir.CheckKeyPackage(f, list, now)
		if c.code == "" {
			require.NoError(t, err, name)
			continue
		}
		var refused *keydir.KeyPackageError
		require.ErrorAs(t, err, &refused, name)
		require.Equal(t, c.code, refused.Code, name)
		require.Contains(t, err.Error(), refused.Reason, name)
	}
	f := facts{Suite: 1, Basic: true, Identity: []byte(alice), SignatureKey: list.Devices[0].SignatureKey[:], NotBefore: sec, NotAfter: sec + day}
	var refused *keydir.KeyPackageError
	require.ErrorAs(t, keydir.CheckKeyPackage(f, keydir.DeviceList{Actor: alice}, now), &refused, "somebody without devices")
	require.Equal(t, "kp_not_logged", refused.Code)
}
