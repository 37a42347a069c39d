package agent

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

const (
	atOnce       = 8  // jobs
	proofTries   = 3  // of a lookup whose answers prove nothing
	receiptTries = 12 // of a hub whose receipts do not hold: a quarter of an hour, in which it is also asked what others got
	reachTries   = 60 // of an instance that our own cannot reach, at short intervals: a quarter of an hour and more
	recheckEvery = time.Minute
)

// carryOutJobs works off what the device wants from the network.
func (a *Agent) carryOutJobs(ctx context.Context) {
	var working sync.WaitGroup
	defer working.Wait()
	for ctx.Err() == nil {
		changed, w := a.Changed(), a.shop
		tasks, told, err := a.device.Tasks(w.told())
		if err != nil {
			a.report(ctx, "reading the jobs", err)
		}
		w.add(tasks, told)
		due, next := w.due(a.isCurrent(), time.Now())
		for _, e := range due {
			working.Go(func() {
				a.perform(ctx, e)
				a.touch()
			})
		}
		select {
		case <-changed:
		case <-time.After(next):
		case <-ctx.Done():
		}
	}
}

// perform does one errand and tells the workshop what came of it.
func (a *Agent) perform(ctx context.Context, e *errand) {
	o := outcome{}
	j, err := a.device.Job(e.ID)
	switch {
	case err == nil:
		o = a.try(ctx, j, e)
	case !errors.Is(err, device.ErrNoSuchJob):
		a.report(ctx, "reading a job", err)
		o.wait = backOff(e.times)
	}
	if left, err := a.device.HasJob(e.ID); o.wait == 0 && (err != nil || left) && ctx.Err() == nil {
		o.wait = time.Millisecond // it is another one by now, or could not be struck off
	}
	back := a.shop.landed(e, o, a.attention(), time.Now())
	if o.silent {
		a.shop.tidy("", a.device.HasJob)
	}
	if o.away {
		a.shop.tidy(e.Hub, a.device.HasJob)
	}
	a.welcomeBack(ctx, back)
}

// welcomeBack does what waited for hosts that answer again.
func (a *Agent) welcomeBack(ctx context.Context, hosts []string) {
	for _, host := range hosts {
		if host == "" {
			a.knock()
		} else if err := a.device.HubBack(host); err != nil {
			a.report(ctx, "asking a hub that is back", err)
		}
	}
	if len(hosts) > 0 {
		a.touch()
	}
}

// An outcome is what came of one try.
type outcome struct {
	wait     time.Duration // until the next one; 0 if the job is over
	asked    time.Duration // the least that the host wants to be left alone
	own      bool          // the failure is the job's, and is counted as such
	answered bool          // the own sidecar has answered
	silent   bool          // it has not
	reached  bool          // the hub has answered
	away     bool          // the own sidecar could not ask it
}

// try carries a job out once.
func (a *Agent) try(ctx context.Context, j device.Job, e *errand) (o outcome) {
	err := a.do(ctx, j, e.times)
	o.answered = true
	switch {
	case errors.Is(err, errMirrored):
		o.away = true
		return o
	case err == nil:
		o.reached = e.Hub != ""
		return o
	case ctx.Err() != nil:
		return outcome{}
	}
	var lease turn
	if errors.As(err, &lease) {
		o.wait, o.own, o.reached = max(time.Duration(lease), time.Millisecond), true, true
		return o
	}
	var moved *clientapi.HubMoved
	if errors.As(err, &moved) {
		if err = a.device.HubMoved(j.ID(), device.HubEvent{Receipt: moved.Moved.Event.Receipt, Commit: moved.Moved.Event.Commit}); err == nil {
			return o
		}
	}
	return a.failed(ctx, j, e, err, o)
}

// failed is for an error: the job ends, or is tried again.
func (a *Agent) failed(ctx context.Context, j device.Job, e *errand, err error, o outcome) outcome {
	o.silent, o.away = isSilent(err), isAway(err)
	o.answered = o.answered && !o.silent && isAnswer(err)
	if o.away {
		err = errors.Join(err, a.device.HubAway(j.ID()))
	}
	a.noteRefusal(err)
	var p *problem.Problem
	if code, detail, final := verdict(err, e.times); final && !(errors.As(err, &p) && waitsForConsent(j, p, e.times)) {
		if err = a.device.Failed(j.ID(), code, detail); err == nil {
			return o
		}
	}
	a.report(ctx, "carrying out a job", err)
	o.own = !o.silent && !(o.away && e.Hub != "")
	o.wait = backOff(e.times)
	if isUnanswered(err) {
		o.wait = reachAgain(e.times)
	}
	if errors.As(err, &p) {
		o.asked = min(time.Duration(p.RetryAfter)*time.Second, longestWait)
	}
	o.wait = max(o.wait, o.asked)
	return o
}

// isSilent tells that the own sidecar gave no answer, or that something before it did.
func isSilent(err error) bool {
	var p *problem.Problem
	return errors.Is(err, clientapi.ErrNoAnswer) || errors.Is(err, ErrAway) || errors.As(err, &p) && foreign(p)
}

// isAnswer tells that an error is the own sidecar's answer.
func isAnswer(err error) bool {
	var p *problem.Problem
	return errors.As(err, &p) && !foreign(p)
}

// isUnanswered tells that the own sidecar has not answered at all.
func isUnanswered(err error) bool {
	var p *problem.Problem
	return !errors.Is(err, ErrUnproven) && !errors.Is(err, device.ErrReceipt) && (!errors.As(err, &p) || foreign(p))
}

// verdict says whether another try is of no use. A token that is refused is no reason: a login helps, and then the job is good again. Nor is
// a foreign answer, unless it is about size.
func verdict(err error, before int) (code, detail string, final bool) {
	var p *problem.Problem
	switch {
	case errors.As(err, &p):
		passing := p.Retry || p.Code == "leased" || p.Status == http.StatusUnauthorized || foreign(p) && p.Status != http.StatusRequestEntityTooLarge
		return p.Code, p.Detail, !passing
	case errors.Is(err, ErrUnproven):
		return "not_proven", err.Error(), before+1 >= proofTries
	case errors.Is(err, device.ErrReceipt):
		return "receipt_invalid", err.Error(), before+1 >= receiptTries
	}
	return "", "", false
}

// do carries out one job and reports its result to the device. before is how often that failed.
func (a *Agent) do(ctx context.Context, j device.Job, before int) error {
	sidecar, err := a.sidecar()
	if err != nil {
		return err
	}
	switch j := j.(type) {
	case *device.OpenJob:
		return a.open(ctx, sidecar, j)
	case *device.LookupJob:
		return a.lookUp(ctx, j, before)
	case *device.ClaimJob:
		return a.claim(ctx, sidecar, j)
	case *device.CommitJob:
		return a.commit(ctx, sidecar, j)
	case *device.SendJob:
		send := sidecar.Send
		if j.Plain {
			send = sidecar.SendPlain
		}
		if err := send(ctx, clientapi.Message{ID: j.ID(), Conversation: j.Conversation, Message: j.Message, To: j.To}); err != nil {
			return err
		}
		return a.device.Sent(j.ID())
	case *device.UploadJob:
		return a.upload(ctx, sidecar, j)
	case *device.KeyPackagesJob:
		kp := clientapi.KeyPackages{LastResort: j.LastResort}
		for _, p := range j.OneTime {
			kp.OneTime = append(kp.OneTime, p)
		}
		if _, err := sidecar.PutKeyPackages(ctx, kp); err != nil {
			return away(err)
		}
		return a.device.KeyPackagesStored(j.ID())
	case *device.EventsJob:
		return a.events(ctx, sidecar, j)
	case *device.TermJob:
		return a.term(ctx, sidecar, j)
	case *device.HubKeysJob:
		return a.hubKeys(ctx, sidecar, j)
	case *device.LeaseJob:
		return a.lease(ctx, sidecar, j)
	case *device.DisputeJob:
		answer, err := sidecar.Dispute(ctx, clientapi.Dispute{Conversation: j.Conversation, Hub: j.Hub, Dispute: j.Dispute})
		if err != nil {
			return err
		}
		return a.device.Disputed(j.ID(), answer.Reopened)
	case *device.GroupInfoJob:
		return a.groupInfos(ctx, sidecar, j)
	case *device.ConsentJob:
		return a.tell(ctx, sidecar, j)
	case *device.ProofJob:
		return ofLog(a.prove(ctx, sidecar, j), before)
	}
	return errors.New("agent: a job of no kind")
}

func (a *Agent) open(ctx context.Context, sidecar *clientapi.Client, j *device.OpenJob) error {
	o, err := sidecar.OpenConversation(ctx, j.GroupID, j.Ticket)
	if err != nil {
		return err
	}
	return a.device.Opened(j.ID(), o.Conversation, o.Receipt)
}

// lookUp asks for each actor. One whose directory will not do counts as unknown, and keeps nobody else out.
func (a *Agent) lookUp(ctx context.Context, j *device.LookupJob, before int) error {
	var errs []error
	for _, actor := range j.Actors {
		err := a.lookup(ctx, actor)
		var unseen *device.NotWitnessedError
		if errors.As(err, &unseen) {
			err = errors.Join(err, a.device.NotWitnessed(j.ID(), unseen))
		} else if _, _, final := verdict(err, before); final {
			a.report(ctx, "looking somebody up", err)
			err = a.device.Unknown(actor)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		if j.For != "" {
			return err
		}
		a.report(ctx, "renewing what is known of people", err) // the device asks again for whom that is still needed
	}
	return a.device.LookedUp(j.ID())
}

// A claiming is what a job that claims has got so far. It is kept over tries: each question uses a package up.
type claiming struct {
	job string
	got map[string][]device.ClaimedPackage // by actor
}

func (a *Agent) claiming(j *device.ClaimJob) claiming {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.claims[j.Conversation].job != j.ID() {
		a.claims[j.Conversation] = claiming{j.ID(), map[string][]device.ClaimedPackage{}}
	}
	return a.claims[j.Conversation]
}

// claim asks for each actor. Who is not there has no packages, which the device finds out for itself.
func (a *Agent) claim(ctx context.Context, sidecar *clientapi.Client, j *device.ClaimJob) error {
	packages := a.claiming(j).got
	for _, actor := range j.Actors {
		if len(packages[actor]) > 0 {
			continue
		}
		claimed, err := claimOf(ctx, sidecar, actor, slices.Contains(j.Plain, actor))
		var p *problem.Problem
		if errors.As(err, &p) {
			if err := mustBeAccepted(j, p); err != nil {
				return err
			}
		}
		if _, _, final := verdict(err, 0); err != nil && !final {
			return err
		}
		packages[actor] = claimed
	}
	if err := a.device.Claimed(j.ID(), packages); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.claims, j.Conversation)
	return nil
}

// claimOf asks for an actor's packages, at their directory or, if they have none, at their collection.
func claimOf(ctx context.Context, sidecar *clientapi.Client, actor string, plain bool) (packages []device.ClaimedPackage, err error) {
	if plain {
		shown, err := sidecar.PlainClaim(ctx, actor)
		for _, p := range shown {
			packages = append(packages, device.ClaimedPackage{KeyPackage: p.KeyPackage})
		}
		return packages, err
	}
	claimed, err := sidecar.Claim(ctx, actor)
	for _, c := range claimed {
		packages = append(packages, device.ClaimedPackage{Device: c.Device, KeyPackage: c.KeyPackage, LastResort: c.LastResort})
	}
	return packages, err
}

func (a *Agent) commit(ctx context.Context, sidecar *clientapi.Client, j *device.CommitJob) error {
	part := clientapi.HubPart{Seq: &j.Seq, Head: j.Head, GroupInfo: j.GroupInfo, Despite: j.Despite}
	if len(j.LeaseKey) > 0 {
		part.Lease = &clientapi.Lease{Key: j.LeaseKey, Signature: j.LeaseSignature}
	}
	if j.MoveHub != "" {
		part.Move = &clientapi.Move{Hub: j.MoveHub, Key: j.MoveKey, Signature: j.MoveSignature}
	}
	receipt, err := sidecar.Commit(ctx, clientapi.Commit{
		ID: j.ID(), Conversation: j.Conversation, Term: j.Term, Epoch: j.Epoch, Commit: j.Commit, Ticket: j.Ticket, Signature: j.Signature,
		To: j.To, Welcome: j.Welcome, WelcomeTo: j.WelcomeTo, Hub: j.Hub, HubPart: part,
	})
	var conflict *clientapi.Conflict
	if errors.As(err, &conflict) {
		return a.device.CommitConflict(j.ID(), hubEvents(conflict.Events))
	}
	if err != nil {
		return err
	}
	return a.device.Committed(j.ID(), receipt)
}

func (a *Agent) upload(ctx context.Context, sidecar *clientapi.Client, j *device.UploadJob) error {
	blob, err := a.device.Blob(j)
	if errors.Is(err, device.ErrNoSuchJob) {
		return nil
	}
	if err != nil {
		return err
	}
	u, err := sidecar.PutBlob(ctx, j.Hash, blob)
	if err != nil {
		return err
	}
	return a.device.Uploaded(j.ID(), u)
}

func hubEvents(events []clientapi.Event) []device.HubEvent {
	out := make([]device.HubEvent, 0, len(events))
	for _, e := range events {
		out = append(out, device.HubEvent{Receipt: e.Receipt, Commit: e.Commit})
	}
	return out
}
