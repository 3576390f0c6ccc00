package change_test

import (
	"context"
	"fmt"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// However many changes come while nobody looks, who waits is woken once and takes them all.
func Example() {
	inbox := change.NewInbox()
	for _, name := range []string{"reviews", "ratings", "reviews"} {
		inbox.Put(policy.Change{Namespace: "shop", Service: name})
	}
	fmt.Println(inbox.Full.Wait(context.Background()))
	taken, _ := inbox.Take()
	fmt.Println(len(taken.Services), taken.Has(hostname.Host{Namespace: "shop", Name: "ratings"}))
	// Output:
	// true
	// 2 true
}
