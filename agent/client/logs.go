package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Logs says what is known of the logs that prove people's keys, and what watching the own account has come to.
type Logs struct {
	Logs    []Log    `json:"logs" doc:"In the order in which they were met"`
	Monitor *Monitor `json:"monitor,omitempty" doc:"Missing before the own account was looked up"`
	Scan    Scan     `json:"scan"`
}

// Log of an instance, as this device has pinned it.
type Log struct {
	Instance string `json:"instance"`
	Own      bool   `json:"own" doc:"It is the account's own instance"`
	Origin   string `json:"origin"`
	Key      string `json:"key" doc:"Note verifier key of its checkpoints"`
	Size     int64  `json:"size" doc:"Entries of the newest checkpoint that was proven"`
	Root     string `json:"root" doc:"Hex of its root"`
}

// Monitor is what watching the own account has come to.
type Monitor struct {
	Instance string     `json:"instance"`
	Started  int64      `json:"started" doc:"Size of the log when this device began to watch it"`
	Read     int64      `json:"read" doc:"Entries up to which the log was read and is what the instance has signed"`
	Target   int64      `json:"target" doc:"The newest size that was proven"`
	Scanned  *time.Time `json:"scanned,omitempty" doc:"When everything up to the newest size had last been read"`
	Trouble  string     `json:"trouble,omitempty" doc:"Why it could not be since"`
	Since    *time.Time `json:"since,omitempty" doc:"Of the trouble"`
	Alarms   []Alarm    `json:"alarms" doc:"Oldest first"`
	More     int        `json:"more" doc:"Alarms that there was no room for"`
}

// Alarm is something about the own account that its owner has to see.
type Alarm struct {
	Code    string    `json:"code" doc:"Stable, for programs"`
	Detail  string    `json:"detail" doc:"One sentence for people"`
	Help    string    `json:"help" doc:"What to do"`
	Index   *int64    `json:"index,omitempty" doc:"Of the entry in the log, once it was found there"`
	Devices []string  `json:"devices" doc:"On the account's list, and not this one"`
	Told    time.Time `json:"told"`
	Seen    bool      `json:"seen"`
}

// Scan is a run of the monitor.
type Scan struct {
	Number    uint64 `json:"number" doc:"Of the newest run"`
	Running   bool   `json:"running"`
	FromStart bool   `json:"from_start"`
	Done      int64  `json:"done" doc:"Entries read"`
	Total     int64  `json:"total"`
	Error     string `json:"error,omitempty" doc:"Why it did not come to its end, one sentence"`
}

// StartScan is the body that starts a run.
type StartScan struct {
	FromStart bool `json:"from_start,omitempty" doc:"Replay the whole log and hold every check that entries alone show"`
}

// Proof is a directory answer that nobody has judged, with what to hold it against.
type Proof struct {
	Handle string    `json:"handle"`
	Actor  string    `json:"actor"`
	Time   time.Time `json:"time" doc:"When it was fetched"`
	Own    string    `json:"own,omitempty" doc:"Origin of the own instance's log, whose witnesses do not count"`
	Origin string    `json:"origin"`
	Key    string    `json:"key" doc:"Note verifier key that is pinned"`
	VRF    []byte    `json:"vrf" doc:"Pinned with it"`
	Size   int64     `json:"size" doc:"Of the newest checkpoint known before; 0: none"`
	Root   []byte    `json:"root,omitempty" doc:"Of that checkpoint"`
	Note   []byte    `json:"note,omitempty" doc:"That checkpoint"`
	Record []byte    `json:"record,omitempty" doc:"What was known of the actor before"`
	Answer []byte    `json:"answer" doc:"As spec/log-entry.md has it"`
}

// Logs that are known, and what watching the own account has come to.
func (c *Client) Logs(ctx context.Context) (l Logs, err error) {
	err = c.call(ctx, http.MethodGet, "/logs", "", nil, &l)
	return l, err
}

// Scan starts a run of the monitor. It goes on by itself; Logs tells how far it has come.
func (c *Client) Scan(ctx context.Context, fromStart bool) (s Scan, err error) {
	err = c.call(ctx, http.MethodPost, "/logs/scan", "", StartScan{fromStart}, &s)
	return s, err
}

// AlarmsSeen says that the person has seen all alarms.
func (c *Client) AlarmsSeen(ctx context.Context) (l Logs, err error) {
	err = c.call(ctx, http.MethodPost, "/logs/seen", "", nil, &l)
	return l, err
}

// Proof asks the directory about somebody, for the caller to judge the answer.
func (c *Client) Proof(ctx context.Context, handle string) (p Proof, err error) {
	err = c.call(ctx, http.MethodGet, "/logs/proof?handle="+url.QueryEscape(handle), "", nil, &p)
	return p, err
}
