// Package device is one device of one person: the only holder of private keys, and a state machine without input or output.
//
// Every operation is one transaction of a [Store]: rows are read, the next state is computed beside them, and rows are written; if
// anything fails, nothing has changed. What is remembered in memory between two calls is only a copy of rows, so a process that is
// killed and started again goes on as if it had only been slow. Time and randomness come in through [New].
//
// What the device wants from the network it writes down as a [Job] in the transaction that made it necessary. Somebody else (package
// agent) carries jobs out and reports the results, each of which is again one transaction that also removes the job. After a crash a job
// is done again with the same bytes; all calls of spec/client-api.md stand that.
//
// # A device's life
//
// Enrolment, in this order, each step repeatable:
//
//	Prepare, SignLogin, Bind     keys are made, the login is signed, the account and its token are stored
//	PinLog, PinHub               log key and hub key of the own instance, from its discovery document
//	DeviceList, Learn            what to publish in the directory; the answer is learned like anybody else's
//	TopUp(0)                     makes the first key packages (a KeyPackagesJob)
//
// Its end: [Device.Revocation] is the statement by which the device takes itself off the account's list; [Device.ResetList] is that of
// another device that takes its place after a loss. A device that learns that it is not in the list any more says so ([EventDeviceRemoved],
// [Account]'s Removed), keeps what it has, and sends nothing more. The same is done to others: who is an admin takes a device
// that has left its actor's list out of the conversations (C7).
//
// Directory: an actor's keys come in through [Device.Learn] (or [Device.Unknown]) and through nothing else. The log key of an instance
// must have been pinned before ([Device.PinLog], asked with [Device.LogOf]), from that instance itself. With a policy ([Device.AskWitnesses])
// an answer needs the witnesses of others, too, or Learn returns a [NotWitnessedError]. [Contact] says why somebody's keys are believed.
// After a reset of somebody's keys nothing is encrypted to them, and nothing new taken for them, before [Device.AcceptKeys].
//
// Conversations: [Device.StartConversation], [Device.AddMembers], [Device.RemoveMembers], [Device.SetAdmin], [Device.MoveHub],
// [Device.Leave] and [Device.Send] put steps into the conversation's queue and return. Steps are worked off in order, so a message that was written after "add carol" is
// encrypted for carol too, and one after "remove bob" is not for bob; what a hub that is away keeps waiting, messages pass (O1 to O4). A step about members is an intent: if another commit wins the epoch,
// the commit is thrown away and built again on what the winner left.
//
// Hubs: a commit counts when its hub has granted it, and every receipt is checked and kept. One whose commit is invalid for everybody alike is
// disputed. When a hub stays away, the admins' devices agree on another by themselves ([Device.NameHubs] has the room name some beforehand); one
// that has signed two orders is told and followed nowhere by choice ([Device.LyingHubs]).
//
// Plain conversations: who lives on an instance without a directory ([Device.NoDirectory]) is met in these only, by [Device.StartPlain] or
// [Device.SendToPlain], because the person has said that they know what that means. They have no hub: a commit counts when it is made or seen, and
// keys are believed the first time. The files that begin with plain have all of it.
//
// Incoming: [Device.Receive] takes one mailbox item and never fails for what is in it: a hostile item leaves an event and changes nothing
// else. What cannot be judged yet (an unknown key, a missing commit) is parked, in bounds, and taken up when the missing thing has come.
// A commit that the hub ordered and that must not be followed pauses the conversation: talk goes on in the epoch that all had in common,
// membership waits, and [Device.Resume] tries again. A device that has lost the thread, because a commit is broken for it alone, its state is
// damaged or the others went on from an earlier place, comes back by itself with a commit from outside; [Device.Resync] asks for that.
//
// Own account: with each answer about it, and entry by entry with [Device.LogFetch], the device watches what its instance's log says of its
// person; [Device.Monitor] has what came of it. [Device.NewReplay] reads the log from its beginning.
//
// Strangers: who is in no [Consent] of the person and asks into a conversation waits in [Device.Requests] until [Device.AcceptRequest];
// [Device.LookAt] shows what it is about. Writing to somebody first is consent, too.
//
// Logs: with each message members tell each other what they have seen of the logs that their keys come from (spec/gossip.md). What does not fit
// becomes a ProofJob, and from a log that has signed two histories, or does not prove what it should, [Device.Learn] takes nothing more.
// [Device.Distrusted] tells.
//
// # For who runs the jobs
//
// [Device.Tasks] tells what may be done now and was not told before, [Device.Job] reads one of them, and [Device.Jobs] lists and reads all. The
// jobs in one answer are independent and may be done in any order or at once. Ask again after each result. Results: [Device.Opened], [Device.LookedUp] (after Learn, Unknown or NoDirectory for each actor of the job),
// [Device.Claimed], [Device.Committed] or [Device.CommitConflict], [Device.Leased] or [Device.LeaseConflict], [Device.Disputed],
// [Device.TermOpened] or [Device.TermConflict], [Device.HubKeys], [Device.Sent], [Device.Uploaded], [Device.KeyPackagesStored],
// [Device.EventsFetched] or [Device.EventsMirrored], [Device.GroupInfos], [Device.Decided], [Device.Compared] (after [Device.AdvanceLog], if
// need be); [Device.HubMoved] and [Device.HubAway] for what a hub may answer to any; [Device.Failed] for a refusal that another try will
// not change, and [Device.NotWitnessed] for a lookup that is to be tried again and of which the person should know. A result for a job
// that no longer exists is ignored. A result that returns an error has changed nothing: the job stays and is to be tried again later.
//
// [Device.Wake] does what falls due with time alone, and says when to be called again. [Device.Sync] asks every hub for what we may have missed, and for newer proofs of the members' keys; call it at start and now and
// then. [Device.TopUp] wants to be told how many one-time key packages the sidecar still has.
//
// # What stays compatible
//
// The bytes on the wire are those of spec/conversation.md. The rows in the store are this package's own business; their JSON
// only ever gains members.
package device
