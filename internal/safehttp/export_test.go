package safehttp

import (
	"context"
	"net"
	"syscall"
)

// Watch has a client resolve names by r, and calls connecting for each connection that the door lets pass, at the last moment before it
// would be made. An error keeps it from being made.
func (c *Client) Watch(r *net.Resolver, connecting func(address string) error) {
	door := c.dialer.ControlContext
	c.dialer.Resolver = r
	c.dialer.ControlContext = func(ctx context.Context, network, address string, raw syscall.RawConn) error {
		if err := door(ctx, network, address, raw); err != nil {
			return err
		}
		return connecting(address)
	}
}
