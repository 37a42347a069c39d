package device

import (
	"slices"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// gap tells whether a hub's answer goes on somewhere behind our place, and not at it: who took over has no more of the old chain than it needed.
func (c *conversation) gap(events []HubEvent) bool {
	next := uint64(0)
	for _, e := range events {
		if r, err := receipt.Parse(e.Receipt); err == nil && r.Seq > c.Seq && (next == 0 || r.Seq < next) {
			next = r.Seq
		}
	}
	return next > c.Seq+1
}

// askForGap asks one of the hubs that we know, or of the members' instances, for what the present hub does not have of the chain. Next time it
// is another one. Does it not answer, either, the hub is asked again.
func (t *txn) askForGap(c *conversation) error {
	account, err := t.account()
	if err != nil {
		return err
	}
	rm, _, err := t.knownAt(c, c.Seq)
	if err != nil {
		return err
	}
	present := c.presentHub().Hub
	hubs := slices.DeleteFunc(rm.hubs(), func(h receipt.NextHub) bool { return h.Hub == present })
	all := c.mirrors(hubs, c.instances(account.Actor))
	if len(all) == 0 {
		return t.resyncLater(c, "")
	}
	r := *c.Resync
	next := all[r.Asked%len(all)]
	r.Asked++
	c.Resync, c.AskAt = &r, t.now.Add(min(resyncAgain<<min(r.Asked, 10), resyncLongest))
	if err := t.fetchAt(c, next); err != nil {
		return err
	}
	return t.putRowOf(c)
}
