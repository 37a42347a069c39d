package keydir

import (
	"bytes"
	"fmt"
	"time"
)

// maxLifetime is the longest a key package may live.
const maxLifetime = 90 * 24 * time.Hour

const clockSkew = time.Hour

// KeyPackageFacts is what the rules look at in a key package whose signatures have been verified. The caller takes them out;
// this package knows no MLS.
type KeyPackageFacts struct {
	Suite               uint16
	Basic               bool   // the credential is basic
	Identity            []byte // of the credential
	SignatureKey        []byte
	NotBefore, NotAfter uint64 // seconds
}

// A KeyPackageError says by a stable code (spec/client-api.md) why a key package does not count.
type KeyPackageError struct {
	Code   string // kp_identity, kp_expired, kp_lifetime, kp_not_logged, suite_unsupported
	Reason string
}

func (e *KeyPackageError) Error() string { return "keydir: key package: " + e.Reason }

// CheckKeyPackage says whether a verified key package may stand for the actor whose newest list this is.
func CheckKeyPackage(f KeyPackageFacts, list DeviceList, now time.Time) error {
	refuse := func(code, format string, args ...any) error {
		return &KeyPackageError{code, fmt.Sprintf(format, args...)}
	}
	switch {
	case f.Suite != 1:
		return refuse("suite_unsupported", "cipher suite %d, want 1", f.Suite)
	case !f.Basic || !bytes.Equal(f.Identity, []byte(list.Actor)):
		return refuse("kp_identity", "its credential is not basic with identity %s", list.Actor)
	case f.NotAfter < f.NotBefore || f.NotAfter-f.NotBefore > uint64(maxLifetime/time.Second)+2*uint64(clockSkew/time.Second):
		return refuse("kp_lifetime", "it lives longer than %d days", maxLifetime/(24*time.Hour))
	case uint64(now.Unix()) > f.NotAfter || uint64(now.Add(clockSkew).Unix()) < f.NotBefore:
		return refuse("kp_expired", "it is not valid now")
	case !list.Has(f.SignatureKey):
		return refuse("kp_not_logged", "its signature key is not in the newest device list of %s", list.Actor)
	}
	return nil
}
