package leak

// revisionLabel names the istiod revision that reads an object; where it is absent every istiod does.
const revisionLabel = "istio.io/rev"
