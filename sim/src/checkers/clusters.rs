//! One cluster: seeds that come back empty must not found another beside the one that lives.

use kagero::actors::doors::Known;

/// The cluster that everybody must belong to.
#[derive(Debug, Default)]
pub struct Clusters(Option<u64>);

/// There are two.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node} takes part in cluster {second:016x}, and there is cluster {first:016x}")]
pub struct SecondCluster {
    /// Who.
    pub node: String,
    /// Seen first.
    pub first: u64,
    /// Its own.
    pub second: u64,
}

impl Clusters {
    /// Looks which cluster a node belongs to.
    pub fn look(&mut self, node: &str, known: &Known) -> Result<(), SecondCluster> {
        self.add(node, known.standing.cluster.id)
    }

    fn add(&mut self, node: &str, second: u64) -> Result<(), SecondCluster> {
        let first = *self.0.get_or_insert(second);
        if first == second {
            return Ok(());
        }
        let node = node.to_owned();
        Err(SecondCluster {
            node,
            first,
            second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_cluster_is_found() {
        let mut clusters = Clusters::default();
        assert_eq!(clusters.add("n1", 7), Ok(()));
        assert_eq!(clusters.add("n2", 7), Ok(()));
        assert!(clusters.add("n3", 8).is_err());
    }
}
