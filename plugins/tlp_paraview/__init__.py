"""Topological landscape profiles as ParaView filters; see TopologicalLandscapeProfiles.xml."""
