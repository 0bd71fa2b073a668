//! Tencent's regions, their domains, and the region that an SDKAppID suggests.
//!
//! Source: RESTful API Overview, <https://www.tencentcloud.com/document/product/1047/34620>; the ranges of SDKAppIDs
//! are those by which Tencent's published web client `@tencentcloud/chat` 3.6.6 decides.

use std::fmt;
use std::str::FromStr;

use super::app::SdkAppId;

/// A region in which Tencent keeps apps. An app lives in exactly one; another region's domain refuses it (60026).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Region {
    /// Mainland China.
    China,
    /// Singapore.
    Singapore,
    /// Seoul.
    Seoul,
    /// Tokyo.
    Tokyo,
    /// Frankfurt.
    Frankfurt,
    /// Mumbai.
    Mumbai,
    /// Silicon Valley.
    SiliconValley,
    /// Jakarta.
    Jakarta,
}

/// Why a text is no [`Region`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a region is one of china, singapore, seoul, tokyo, frankfurt, mumbai, silicon-valley, jakarta")]
pub struct BadRegion;

/// The hosts that serve one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domains {
    /// Serves `v4/…`.
    pub primary: &'static str,
    /// Serves the same calls when the primary's name is hijacked or its connections fail.
    pub backup: &'static str,
    /// Serves `v1/…`, the old Call family. No backup is published.
    pub old_call: &'static str,
}

impl Region {
    /// Every region, in the order of Tencent's table.
    pub const ALL: [Self; 8] = [
        Self::China,
        Self::Singapore,
        Self::Seoul,
        Self::Tokyo,
        Self::Frankfurt,
        Self::Mumbai,
        Self::SiliconValley,
        Self::Jakarta,
    ];

    /// The region that the number suggests. A default that configuration overrides: no documentation page promises it.
    #[must_use]
    pub fn of(sdkappid: SdkAppId) -> Self {
        match sdkappid.number() {
            20_000_000..=29_999_999 | 1_720_000_000..=1_729_999_999 => Self::Singapore,
            30_000_000..=39_999_999 | 1_730_000_000..=1_739_999_999 => Self::Seoul,
            40_000_000..=49_999_999 | 1_740_000_000..=1_749_999_999 => Self::Frankfurt,
            50_000_000..=59_999_999 | 1_750_000_000..=1_759_999_999 => Self::Mumbai,
            60_000_000..=69_999_999 | 1_760_000_000..=1_769_999_999 => Self::Tokyo,
            70_000_000..=79_999_999 | 1_770_000_000..=1_779_999_999 => Self::SiliconValley,
            80_000_000..=89_999_999 | 1_780_000_000..=1_789_999_999 => Self::Jakarta,
            _ => Self::China,
        }
    }

    /// The hosts that serve this region.
    #[must_use]
    pub fn domains(self) -> Domains {
        let (primary, backup) = match self {
            Self::China => ("console.tim.qq.com", "adminapi.my-imcloud.com"),
            Self::Singapore => ("adminapisgp.im.qcloud.com", "adminapisgp.my-imcloud.com"),
            Self::Seoul => ("adminapikr.im.qcloud.com", "adminapikr.my-imcloud.com"),
            Self::Tokyo => ("adminapijpn.im.qcloud.com", "adminapijpn.my-imcloud.com"),
            Self::Frankfurt => ("adminapiger.im.qcloud.com", "adminapiger.my-imcloud.com"),
            Self::Mumbai => ("adminapiind.im.qcloud.com", "adminapiind.my-imcloud.com"),
            Self::SiliconValley => ("adminapiusa.im.qcloud.com", "adminapiusa.my-imcloud.com"),
            Self::Jakarta => ("adminapiidn.im.qcloud.com", "adminapiidn.my-imcloud.com"),
        };
        let old_call = match self {
            Self::China => "callkit.trtc.tencent-cloud.com",
            _ => "callkit-intl.trtc.tencent-cloud.com",
        };
        Domains { primary, backup, old_call }
    }

    /// The name as configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::China => "china",
            Self::Singapore => "singapore",
            Self::Seoul => "seoul",
            Self::Tokyo => "tokyo",
            Self::Frankfurt => "frankfurt",
            Self::Mumbai => "mumbai",
            Self::SiliconValley => "silicon-valley",
            Self::Jakarta => "jakarta",
        }
    }
}

impl FromStr for Region {
    type Err = BadRegion;

    fn from_str(text: &str) -> Result<Self, BadRegion> {
        Self::ALL.into_iter().find(|region| region.name() == text).ok_or(BadRegion)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_suggests_the_region() {
        for (number, region) in [
            (20_000_000, Region::Singapore),
            (29_999_999, Region::Singapore),
            (1_720_000_000, Region::Singapore),
            (1_739_999_999, Region::Seoul),
            (40_000_001, Region::Frankfurt),
            (1_755_000_000, Region::Mumbai),
            (60_000_000, Region::Tokyo),
            (1_770_000_000, Region::SiliconValley),
            (89_999_999, Region::Jakarta),
            (1_400_000_001, Region::China),
            (1_600_000_001, Region::China),
            (90_000_000, Region::China),
            (1_790_000_000, Region::China),
            (1, Region::China),
        ] {
            assert_eq!(Region::of(SdkAppId::try_from(number).unwrap()), region, "{number}");
        }
    }

    #[test]
    fn every_region_has_a_name_and_domains_of_its_own() {
        let mut hosts = std::collections::HashSet::new();
        for region in Region::ALL {
            assert_eq!(region.name().parse(), Ok(region));
            assert!(hosts.insert(region.domains().primary) && hosts.insert(region.domains().backup));
        }
        assert_eq!("saudi".parse::<Region>(), Err(BadRegion));
    }
}
