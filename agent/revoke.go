package agent

import (
	"context"
	"errors"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

// publicPath is where every sidecar answers lookups and takes revocations from anybody. A device that is logged out has no other door.
const publicPath = "/waxwing"

func (a *Agent) public(account device.Account) *clientapi.Client {
	return clientapi.New(account.Instance+publicPath, "", a.http)
}

// lookupPublicly looks the own account up as anybody could, and returns the answer that was learned; nil if the account was erased.
func (a *Agent) lookupPublicly(ctx context.Context, account device.Account) (answer []byte, err error) {
	_, from, err := a.device.LogOf(account.Actor)
	if err != nil {
		return nil, err
	}
	answer, err = a.public(account).Lookup(ctx, account.Actor, from)
	var refused *problem.Problem
	if errors.As(err, &refused) && refused.Code == "erased" {
		return nil, a.device.AccountErased()
	}
	if err != nil {
		return nil, away(err)
	}
	if _, err := a.device.Learn(account.Actor, answer); err != nil {
		return nil, errors.Join(ErrUnproven, err)
	}
	return answer, nil
}

// askWhy finds out whether the own account's list has to do with a token that is refused. If so, the device tells the person.
func (a *Agent) askWhy(ctx context.Context) {
	account, ok, err := a.device.Account()
	if err == nil && ok && account.Removed == "" {
		_, err = a.lookupPublicly(ctx, account)
	}
	if err != nil {
		a.report(ctx, "asking why this device is logged out", err)
	}
	a.touch()
}

// RevokeDevice takes this device off its account's list, for good; no token is needed for it. seen says that lookups show it: the log may
// have to be witnessed first. Broken off anywhere, it can be called again.
func (a *Agent) RevokeDevice(ctx context.Context) (seen bool, err error) {
	a.loginMu.Lock()
	defer a.loginMu.Unlock()
	account, ok, err := a.device.Account()
	if err == nil && !ok {
		err = device.ErrNotEnrolled
	}
	if err != nil {
		return false, err
	}
	answer, err := a.lookupPublicly(ctx, account)
	if err != nil {
		return false, err
	}
	defer a.touch()
	p, err := a.device.Revocation(answer)
	if errors.Is(err, device.ErrDeviceRemoved) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	done, err := a.public(account).Revoke(ctx, clientapi.Revocation{
		Actor: account.Actor, Publication: clientapi.Publication{Statement: p.Statement, Opening: p.Opening, Content: p.Content},
	})
	if err != nil {
		return false, away(err)
	}
	a.setRefused(true)
	if !done.Witnessed {
		return false, nil
	}
	_, err = a.lookupPublicly(ctx, account)
	account, _, again := a.device.Account()
	return account.Removed != "", errors.Join(err, again)
}
