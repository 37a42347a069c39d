package agent

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

var (
	// ErrHasDevice is for an account whose directory entry names another device.
	ErrHasDevice = errors.New("the account already has a device, and this version knows one device per account")
	// ErrRevoked is for a device that its own key has taken off the account's list.
	ErrRevoked = errors.New("this device was taken off the account's list for good")
)

// Login makes this device one of an account, with the login code the instance's admin handed out, and publishes its keys. Broken
// off anywhere, it can be called again. Refusals of the sidecar are a *problem.Problem; a *NotVisibleError says that it takes longer.
func (a *Agent) Login(ctx context.Context, handle, code string) (device.Account, error) {
	return a.login(ctx, handle, code, a.device.DeviceList)
}

// LoginReset is Login for who has lost the account's device: if the account's list names another one, it is replaced by this, and everybody
// who knows the account is told that nothing vouches for that.
func (a *Agent) LoginReset(ctx context.Context, handle, code string) (device.Account, error) {
	return a.login(ctx, handle, code, a.device.ResetList)
}

func (a *Agent) login(ctx context.Context, handle, code string, list func() (device.Publication, error)) (device.Account, error) {
	a.loginMu.Lock()
	defer a.loginMu.Unlock()
	name, host, err := parseHandle(handle)
	if err != nil {
		return device.Account{}, err
	}
	if account, ok, err := a.device.Account(); err != nil {
		return device.Account{}, err
	} else if ok && !strings.EqualFold(account.Handle, "@"+name+"@"+host) {
		return device.Account{}, device.ErrOtherAccount // before the code and this device's key go anywhere
	} else if account.RevokedItself() {
		return device.Account{}, ErrRevoked
	}
	d, err := a.discover(ctx, a.instanceAt(host))
	if err != nil {
		return device.Account{}, err
	}
	if err := a.enrol(ctx, d, name, host, code); err != nil {
		return device.Account{}, err
	}
	account, _, err := a.device.Account()
	if err != nil {
		return device.Account{}, err
	}
	if err := errors.Join(a.device.PinLog(d.Instance, d.Log.Origin, d.Log.Key, d.Log.VRF), a.device.PinHub(d.Hub.Key)); err != nil {
		return device.Account{}, err
	}
	if err := a.publish(ctx, account, list); err != nil {
		return device.Account{}, err
	}
	a.setRefused(false)
	defer a.touch()
	if account, _, err = a.device.Account(); err != nil { // it may have been removed before
		return account, err
	}
	return account, a.stock(ctx)
}

// stock brings the first key packages to the sidecar before anybody is told that this account is ready. Run may be doing the
// same; the sidecar keeps a package once.
func (a *Agent) stock(ctx context.Context) error {
	if err := a.lookAfter(ctx); err != nil {
		return err
	}
	jobs, err := a.device.Jobs()
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if _, ok := j.(*device.KeyPackagesJob); ok {
			return a.do(ctx, j, 0)
		}
	}
	return nil
}

// enrol proves the code and the device key to the sidecar and keeps the token.
func (a *Agent) enrol(ctx context.Context, d discovery, name, host, code string) error {
	key, err := a.device.Prepare()
	if err != nil {
		return err
	}
	at := uint64(a.now().UnixMilli())
	signature, err := a.device.SignLogin(clientapi.LoginMessage(host, name, at))
	if err != nil {
		return err
	}
	in, err := clientapi.New(d.API, "", a.http).Login(ctx, clientapi.Login{
		Account: name, Code: code, SignatureKey: key, Time: at, Signature: signature,
	})
	if err != nil {
		return away(err)
	}
	if u, err := url.Parse(in.Actor); err != nil || u.Host != host {
		return fmt.Errorf("agent: logging in at %s: it calls the account %.100q", host, in.Actor)
	}
	return a.device.Bind(in.Actor, "@"+name+"@"+host, d.Instance, in.Token)
}

// NotVisibleError is for a device that is in the log of its instance, or on the way there, while the directory does not show it: what is
// appended is shown once witnesses have seen it. Login can be called again, and goes on where it was.
type NotVisibleError struct {
	Waiting string // what for, in the sidecar's words
}

func (e *NotVisibleError) Error() string {
	return fmt.Sprintf("agent: publishing this device: the directory does not show it yet: %s", e.Waiting)
}

const (
	visiblePatience = time.Minute // for the directory to show this device
	visibleLongest  = 5 * time.Second
	maxWaiting      = 500 // bytes of the sidecar's words
)

// publish puts the device into the directory, unless it is there, and does not rest until the log proves that to us as it would to
// anybody. What was published is published again until it is to be seen: that asks the sidecar what it waits for, and changes nothing.
func (a *Agent) publish(ctx context.Context, account device.Account, list func() (device.Publication, error)) error {
	waiting := "it was not witnessed in time"
	deadline := time.Now().Add(a.patience)
	for tries := 0; ; tries++ {
		listed, why, err := a.publishOnce(ctx, account, list)
		if err != nil || listed {
			return err
		}
		if why != "" {
			waiting = why[:min(len(why), maxWaiting)]
		}
		wait := min(backOff(tries), visibleLongest)
		if time.Now().Add(wait).After(deadline) {
			return &NotVisibleError{waiting}
		}
		if sleep(ctx, wait); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// publishOnce says whether the directory shows this device, and if not, why.
func (a *Agent) publishOnce(ctx context.Context, account device.Account, list func() (device.Publication, error)) (listed bool, why string, err error) {
	if listed, why, err = a.listed(ctx, account); err != nil || listed || why != "" {
		return listed, why, err
	}
	p, err := list()
	if errors.Is(err, device.ErrOtherDevices) {
		return false, "", ErrHasDevice
	}
	if err != nil {
		return false, "", err
	}
	sidecar, err := a.sidecar()
	if err != nil {
		return false, "", err
	}
	published, err := sidecar.Publish(ctx, clientapi.Publication{Statement: p.Statement, Opening: p.Opening, Content: p.Content})
	var refused *problem.Problem
	switch {
	case err == nil:
		why = published.Waiting
	case errors.As(err, &refused) && refused.Code == "log_unchecked":
		why = refused.Detail
	case errors.As(err, &refused) && refused.Code == "version_conflict": // a list came in between; the lookup says whose
	default:
		return false, "", away(err)
	}
	listed, _, err = a.listed(ctx, account)
	return listed, why, err
}

// listed asks the directory whether it shows this device, to whoever asks for as many witnesses as we do.
func (a *Agent) listed(ctx context.Context, account device.Account) (listed bool, why string, err error) {
	err = a.lookup(ctx, account.Actor)
	var refused *problem.Problem
	var unseen *device.NotWitnessedError
	switch {
	case errors.As(err, &unseen):
		return false, unseen.Reason, nil
	case errors.As(err, &refused) && refused.Code == "not_witnessed": // no witness has seen anything of the log
		return false, refused.Detail, nil
	case err != nil:
		return false, "", err
	}
	if err = a.requireListed(account); errors.Is(err, ErrHasDevice) {
		return false, "", nil
	}
	return err == nil, "", err
}

func (a *Agent) requireListed(account device.Account) error {
	c, _, err := a.device.Contact(account.Actor)
	if err != nil {
		return err
	}
	for _, id := range c.Devices {
		if id == account.DeviceID {
			return nil
		}
	}
	return ErrHasDevice
}

// describe makes an error fit for a log: no URL, no name.
func describe(err error) string {
	var p *problem.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	var unseen *device.NotWitnessedError
	if errors.As(err, &unseen) {
		return "a log is not witnessed as the policy wants it"
	}
	var system syscall.Errno
	if errors.As(err, &system) {
		return system.Error()
	}
	for _, known := range []error{
		ErrUnproven, device.ErrReceipt, safehttp.ErrRefused, context.DeadlineExceeded, ErrUnreachable, ErrAway, ErrLog, ErrNotCapable, ErrHasDevice,
		device.ErrNotEnrolled, device.ErrDeviceRemoved,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprintf("%T", rootOf(err))
}

func rootOf(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
