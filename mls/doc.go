// Package mls is Messaging Layer Security (RFC 9420): what one member of a group knows and does, so that only the group can read
// what its members send each other.
//
// The example of the package is a group's life from the first member to the last removal.
//
// Bytes and values go in and out. The package knows no network and no disk and looks at no clock: randomness is an io.Reader, the
// time an argument, and what must survive a restart is what Group.Changes and KeyPackageSecret.Marshal return.
//
// # From bytes to a new state
//
// What comes from outside goes through types, each of which has been checked for more than the one before:
//
//   - a Message has been read by ParseMessage. Nobody vouches for anything in it.
//   - Group.Process verifies it and returns an ApplicationMessage, a ReceivedProposal or a StagedCommit.
//   - a StagedCommit is valid by the RFC and says what it would change. The group moves when the application, which has rules of
//     its own, hands it to Group.Apply.
//
// A commit of our own is made by Group.Commit and stays pending until the application knows that it was ordered (ConfirmPending)
// or that another one was (Apply of that, or DropPending). Its Welcome must not leave before it is confirmed.
//
// A client that was away publishes key packages made with NewKeyPackage and enters by a Welcome (JoinWelcome), or without one by
// an external commit (JoinExternal). A StagedJoin or an ExternalJoin lists the members, to be looked at before it is used.
// Reinitialize and Branch make a group that comes from another one.
//
// An error leaves the group as it was, to the byte: a forged message costs no key and no memory. An InvalidError names the rule
// that an input breaks; the Err variables are the other cases that a caller may want to tell apart.
//
// # What to persist, and when
//
// Everything that makes or takes keys changes the state: Encrypt, Propose, ProposeUpdate, Commit, ConfirmPending, DropPending,
// SafeExport, Process when it succeeds, and Apply. The order is always the same: call, persist Changes, then let go of what the call
// returned.
//
//	saved := g.Clone()                      // once, after the group was made or loaded
//	message, err := g.Encrypt(…)
//	for _, r := range g.Changes(saved) {…}  // put or delete, in one transaction with the message
//	saved = g.Clone()                       // if the transaction succeeded; if it failed, g = saved.Clone()
//
// A group is stored as records, of which a step changes few: a message one, a commit in a full tree those of one path and the new
// secrets. Changes compares two states and has to be told nothing: if a step was not stored, the next Changes has both. LoadGroup
// makes a group of all its records, which belong to it alone. To delete a record is to delete the key in it.
//
//   - A message of ours leaves the machine after the state was persisted, and after a crash the same bytes are sent, not a new
//     message. A state that is older than what was sent encrypts twice under one key: never restore one from a copy.
//   - A received message is given to its reader in the transaction that persists the state; its key does not come back.
//   - A StagedCommit is not part of the state, and the key of its message is used up when Process returns it. So process it on a
//     Clone, which becomes the group with Apply or is thrown away: what was persisted between the two would be a state that cannot
//     read the commit again.
//   - A KeyPackageSecret is persisted before its public half is published, and deleted once the group that it joined has been
//     persisted, unless it is one of last resort.
//   - Pre-shared keys and the rule for app data stay with the caller, who names them with UsePSKs and UseAppData again after a
//     restart.
//
// Kept besides are the keys of the last two epochs, for application messages that come late, and for each sender those of the
// last 256 messages that were passed over. Older messages and messages seen before get ErrReplay or a WrongEpochError.
// Records have private keys in the clear.
//
// # What the caller decides
//
//   - Whose a leaf is. The package proves that its signature key signed it, and nothing about the identity beside it. That holds
//     for every Added and Updated leaf of a StagedCommit and for every member of a group that is joined, and for an external
//     commit that replaces somebody (External with Removed): whether both are the same client is not known here.
//   - Who may add, remove, rename, re-initialize. All that is valid by the RFC is accepted.
//   - Who was removed by an external commit cannot check its confirmation tag; whether it was ordered is for the caller to know.
//   - Whether to send application data while proposals wait: section 12.4 asks for a commit first.
//   - Lifetimes are checked when a key package is used or received, with an hour's leave for clocks. In somebody else's commit a
//     package that has expired since passes, so that who was away can follow; leaves that have grown old in a tree do, too.
//
// A Group is for one goroutine at a time; so are the values that it returns as long as it is in use.
//
// # What there is
//
// All of RFC 9420's cipher suites, 1 to 7, and an experimental one with X-Wing, which hides from the quantum computers to come and is
// for nobody but who asks for it; basic and X.509 credentials, whose chains are not looked at; proposals by value and by
// reference, of members, newcomers and external senders; external and resumption pre-shared keys; external commits;
// re-initialization and branches; PublicMessage and PrivateMessage with padding; exporter and last-resort key packages; extensions
// and proposals of the application's own, in what the RFC leaves to private use; GREASE, made and ignored.
//
// The RFC gives proposals no length. Those of the private types 0xF000 to 0xFFFF are one opaque<V> here, by a rule of this
// package's: CustomProposal makes them.
//
// Of draft-ietf-mls-extensions: SelfRemove, last-resort key packages, and the Safe Application Interface, by which the components of
// an application use a group side by side. AppData is what they keep in the GroupContext, in leaves and key packages and beside a
// Welcome; in a group it changes by AppDataUpdateProposal and the rule of UseAppData, not by a change of the extensions.
// AppEphemeralProposal binds data to a commit. ComponentSafeAAD in a group's AppData frames all authenticated data by component.
// SafeExport gives a component one secret of each epoch, once. SafeSign and SafeEncrypt use members' keys under a component's label.
// A PSK may be a component's.
//
// Not supported: other credential types and proposal types, which cannot even be read, since their length is not known; changing
// our own signature key or credential inside a group; of draft-ietf-mls-extensions wire formats as extensions, content advertisement,
// AppAck and multi-credentials; post-quantum signatures. limits.go has the sizes: messages of 16 MiB, key packages of 64 KiB, 65536
// members.
//
// ParseMessage and the methods of Message, ParseKeyPackage and KeyPackage.Verify need no private key. A program that uses nothing
// else, as one that only carries messages does, does not link the code that decrypts.
package mls
